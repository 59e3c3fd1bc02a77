//! Whether the API server does what tests count on.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::authentication::v1::{
    SelfSubjectReview, TokenRequest, TokenRequestSpec, TokenReview, TokenReviewSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::{Api, ListParams, PostParams, WatchParams};
use kubernetes_api::{ADMIN, ApiServer, Definitions, TokenVerifier, tools};
use serde_json::{Value, json};
use test_basics::{PATIENCE, until};
use tokio::time::timeout;

const SCALED_JOB: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata:
  name: thumbnails
spec:
  jobTargetRef:
    template:
      spec:
        restartPolicy: Never
        containers:
          - name: thumbnails
            image: example.com/thumbnails
  triggers:
    - type: external
      metadata:
        scalerAddress: keda-sift.keda-sift:9090
"#;

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn objects_are_kept_and_deleted() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("objects").await;
    let both =
        format!("{}\n---\n{}", config_map(&namespace, "first"), config_map(&namespace, "second"));
    let applied = api.apply(&both).await;
    assert_eq!(names(&applied), ["first", "second"]);
    let one = api.apply(&config_map(&namespace, "first")).await;
    assert_eq!(names(&one), ["first"]);

    let kept = Api::<ConfigMap>::namespaced(api.admin(), &namespace);
    assert_eq!(kept.list(&ListParams::default()).await.unwrap().items.len(), 2);
    api.delete(&both).await;
    assert_eq!(kept.list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn kinds_of_keda_and_its_neighbours_are_known() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("kinds").await;
    let applied = api.apply_in(&namespace, SCALED_JOB).await;
    assert_eq!(applied[0]["metadata"]["namespace"], json!(namespace));
    for (version, kind) in [
        ("keda.sh/v1alpha1", "TriggerAuthentication"),
        ("cert-manager.io/v1", "Certificate"),
        ("cert-manager.io/v1", "Issuer"),
        ("monitoring.coreos.com/v1", "ServiceMonitor"),
        ("azmonitoring.coreos.com/v1", "ServiceMonitor"),
    ] {
        let object = json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": { "name": "one", "namespace": namespace },
            "spec": {},
        });
        assert_eq!(names(&api.dry_run(&object.to_string()).await.unwrap()), ["one"], "{kind}");
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_dry_run_names_everything_that_does_not_fit_and_stores_nothing() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("dry").await;
    let good = config_map(&namespace, "good");
    let made = api.dry_run(&good).await.unwrap();
    assert!(made[0]["metadata"]["uid"].is_string(), "the server has seen it: {made:?}");

    let unknown = good.replace("\"data\"", "\"date\"");
    let misspelt = SCALED_JOB.replace("triggers:", "trigger:");
    let wrong = SCALED_JOB.replace("example.com/thumbnails", "7");
    let (incomplete, _) = SCALED_JOB.split_once("  triggers:").unwrap();
    let nowhere = config_map("nowhere", "lost");
    let refusal = api
        .dry_run(&[&unknown, &misspelt, &wrong, incomplete, &nowhere].join("\n---\n"))
        .await
        .unwrap_err();
    for part in [
        ".date: field not declared in schema",
        ".spec.trigger: field not declared in schema",
        ".image: expected string",
        "spec.triggers: Required value",
        "namespaces \"nowhere\" not found",
    ] {
        assert!(refusal.contains(part), "{part} is missing in: {refusal}");
    }

    let twice = SCALED_JOB.replace("spec:\n  job", "  name: twice\nspec:\n  job");
    let refusal = api.dry_run(&twice).await.unwrap_err();
    assert!(refusal.contains("duplicate") && refusal.contains("name"), "{refusal}");

    let kept = Api::<ConfigMap>::namespaced(api.admin(), &namespace);
    assert_eq!(kept.list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_user_may_do_what_is_granted_where_it_is_granted() {
    let api = ApiServer::shared().await;
    let (here, there) = (api.namespace("here").await, api.namespace("there").await);
    let secrets = |namespace: &str| Api::<Secret>::namespaced(api.user("rita"), namespace);
    let list = ListParams::default();
    assert_eq!(code(secrets(&here).list(&list).await), 403);

    let granted = api.grant("rita").to(&["list"], "secrets").in_namespace(&here).await;
    assert_eq!(code(secrets(&here).list(&list).await), 200);
    assert_eq!(code(secrets(&there).list(&list).await), 403);
    assert_eq!(code(secrets(&here).get("none").await), 403);
    granted.revoke().await;
    assert_eq!(code(secrets(&here).list(&list).await), 403);

    let granted = api
        .grant("rita")
        .to(&["get", "list"], "secrets")
        .to(&["create"], "serviceaccounts/token")
        .everywhere()
        .await;
    assert_eq!(code(secrets(&there).list(&list).await), 200);
    assert_eq!(code(secrets(&there).get("none").await), 404);
    assert!(api.allows("rita", "create", "serviceaccounts/token", None).await);
    assert!(!api.allows("rita", "create", "serviceaccounts", None).await);
    granted.revoke().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn rights_that_manifests_give_are_waited_for() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("manifests").await;
    let account = api.service_account(&namespace, "scaler").await;
    let jobs = "scaledjobs.keda.sh";
    assert!(!api.allows(&account.user(), "watch", jobs, Some(&namespace)).await);
    let rbac = json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": { "name": "reader", "namespace": namespace },
                "rules": [{ "apiGroups": ["keda.sh"], "resources": ["scaledjobs"], "verbs": ["list", "watch"] }],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": { "name": "reader", "namespace": namespace },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" },
                "subjects": [{ "kind": "ServiceAccount", "name": "scaler", "namespace": namespace }],
            },
        ],
    });
    api.apply(&rbac.to_string()).await;
    api.wait_until_allowed(&account.user(), "watch", jobs, Some(&namespace)).await;
    assert!(!api.allows(&account.user(), "get", jobs, Some(&namespace)).await);
    assert!(!api.allows(&account.user(), "watch", jobs, None).await);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_kubeconfig_is_who_it_says() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("who").await;
    let account = api.service_account(&namespace, "scaler").await;
    let review = Api::<SelfSubjectReview>::all(account.client());
    let review =
        review.create(&PostParams::default(), &SelfSubjectReview::default()).await.unwrap();
    let user = review.status.unwrap().user_info.unwrap();
    assert_eq!(user.username.as_deref(), Some(account.user().as_str()));

    for (kubeconfig, expected) in [
        (api.kubeconfig("kim"), "kim"),
        (api.kubeconfig(ADMIN), "admin"),
        (account.kubeconfig.clone(), &account.user()),
    ] {
        let file = format!("--kubeconfig={}", kubeconfig.display());
        let said = api
            .kubectl(&[&file, "auth", "whoami", "--output=jsonpath={.status.userInfo.username}"])
            .await;
        assert_eq!(said.unwrap(), expected);
    }
    let refusal = api.kubectl_as("kim", &["get", "secrets"]).await.unwrap_err();
    assert!(refusal.contains("Forbidden") && refusal.contains("kim"), "{refusal}");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_token_says_whose_it_is_for_whom_and_until_when() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("tokens").await;
    let account = api.service_account(&namespace, "worker").await;
    let claims = api.verify_token(&account.token).unwrap();
    assert_eq!(claims.issuer, api.issuer());
    assert_eq!(claims.subject, format!("system:serviceaccount:{namespace}:worker"));
    assert_eq!(claims.audiences, [api.issuer()]);

    let token = exchange_token(api, &namespace, "worker").await;
    let verifier: TokenVerifier = api.token_verifier();
    let claims = verifier.verify(&token).unwrap();
    assert_eq!(claims.audiences, ["api://AzureADTokenExchange"]);
    assert_eq!(claims.expires_at - claims.issued_at, 600);
    assert_eq!(claims.all["kubernetes.io"]["serviceaccount"]["name"], "worker");

    // The server itself agrees.
    let review = TokenReview {
        spec: TokenReviewSpec {
            token: Some(token.clone()),
            audiences: Some(claims.audiences.clone()),
        },
        ..TokenReview::default()
    };
    let reviews = Api::<TokenReview>::all(api.admin());
    let status = reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap();
    assert_eq!(status.authenticated, Some(true), "{status:?}");
    let keys = api.jwks().await;
    assert_eq!(keys["keys"][0]["kty"], "EC", "{keys}");
    assert_eq!(keys["keys"][0]["alg"], "ES256", "{keys}");

    let (head, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let another = exchange_token(api, &namespace, "other").await;
    let payload = another.split('.').nth(1).unwrap();
    let forged = format!("{header}.{payload}.{signature}");
    assert_eq!(verifier.verify(&forged).unwrap_err(), "not signed by this server");
    verifier.verify("none").unwrap_err();
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn requests_are_counted_by_user_verb_and_resource() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("counted").await;
    let granted =
        api.grant("carla").to(&["list", "watch"], "configmaps").in_namespace(&namespace).await;
    let maps = Api::<ConfigMap>::namespaced(api.user("carla"), &namespace);
    for _ in 0..3 {
        maps.list(&ListParams::default()).await.unwrap();
    }
    maps.get("none").await.unwrap_err();
    let mut watch = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    // Both sides have it open once something comes through.
    api.apply(&config_map(&namespace, "seen")).await;
    timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();

    let carlas = || api.requests().by("carla").resource("configmaps").in_namespace(&namespace);
    until("five requests are logged", async || carlas().len() == 5).await;
    assert_eq!(carlas().verb("list").len(), 3);
    assert_eq!(carlas().verb("get").forbidden().len(), 1);
    assert_eq!(carlas().verb("watch").len(), 1);
    assert_eq!(
        carlas().forbidden().iter().map(|request| request.name.as_str()).collect::<Vec<_>>(),
        ["none"]
    );

    // Its end makes no second request of it; the list that follows is logged after.
    drop(watch);
    until("the watch has ended", async || {
        let log = fs::read_to_string(api.folder().join("audit.log")).unwrap();
        log.lines().any(|line| {
            let event: Value = serde_json::from_str(line).unwrap_or_default();
            event["verb"] == "watch"
                && event["user"]["username"] == "carla"
                && event["stage"] == "ResponseComplete"
        })
    })
    .await;
    assert_eq!(carlas().verb("watch").len(), 1);
    assert_eq!(api.requests().by("nobody").len(), 0);

    api.service_account(&namespace, "worker").await;
    until("a subresource is logged", async || {
        let tokens =
            api.requests().by(ADMIN).resource("serviceaccounts/token").in_namespace(&namespace);
        tokens.verb("create").len() == 1
    })
    .await;
    granted.revoke().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_server_that_was_away_or_hung_has_its_data() {
    let api = ApiServer::start().await;
    let namespace = api.namespace("kept").await;
    api.apply(&config_map(&namespace, "kept")).await;
    let account = api.service_account(&namespace, "worker").await;
    let kept = Api::<ConfigMap>::namespaced(api.admin(), &namespace);
    let url = api.url().to_owned();

    api.stop();
    let error = kept.get("kept").await.unwrap_err();
    assert!(!matches!(error, kube::Error::Api(_)), "nobody answers: {error:?}");
    api.restart().await;
    assert_eq!(api.url(), url);
    kept.get("kept").await.unwrap();
    api.verify_token(&account.token).unwrap();
    assert_eq!(code(account.client().request_text(get("/apis")).await), 200);

    api.pause();
    let held = timeout(Duration::from_secs(2), kept.get("kept")).await;
    assert!(held.is_err(), "a paused server answers: {held:?}");
    api.resume();
    timeout(PATIENCE, kept.get("kept")).await.unwrap().unwrap();
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn lenient_definitions_take_anything_and_it_stays() {
    let api = ApiServer::start().await;
    let odd = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledJob",
        "metadata": { "name": "odd", "namespace": "default" },
        "spec": { "triggers": [{ "type": 7 }, "none"] },
    });
    api.try_apply(&odd.to_string()).await.unwrap_err();
    api.define(Definitions::Lenient).await;
    api.apply(&odd.to_string()).await;
    api.define(Definitions::Keda).await;
    api.try_apply(&odd.to_string()).await.unwrap_err();
    let kept = api
        .kubectl(&["get", "scaledjob", "odd", "--output=jsonpath={.spec.triggers}"])
        .await
        .unwrap();
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), odd["spec"]["triggers"]);
}

/// Started by itself with the variable `END_TEST`, it is the process that ends.
#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_server_ends_with_its_process_even_while_it_hangs() {
    const ROLE: &str = "END_TEST";
    const NAME: &str = "a_server_ends_with_its_process_even_while_it_hangs";
    if let Some(role) = std::env::var_os(ROLE) {
        let api = ApiServer::start().await;
        if role == "hung" {
            api.pause();
        }
        println!("\nstarted {} {}", api.url(), api.folder().display());
        return std::future::pending().await;
    }
    for role in ["working", "hung"] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--include-ignored", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .spawn();
        let mut child = Killed(child.unwrap());
        let stdout = BufReader::new(child.0.stdout.take().unwrap());
        let started = stdout
            .lines()
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("started ").map(str::to_owned));
        let started = started.expect("the other process starts a server");
        let (url, folder) = started.split_once(' ').unwrap();
        let address: SocketAddr = url.strip_prefix("https://").unwrap().parse().unwrap();
        assert!(TcpStream::connect(address).is_ok() && Path::new(folder).is_dir(), "{role}");

        drop(child);
        until("its folder is gone", async || !Path::new(folder).exists()).await;
        until("its port is closed", async || TcpStream::connect(address).is_err()).await;
    }
}

/// Started by itself without `KEDA_CRDS`, it fails.
#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_test_without_kedas_definitions_fails_and_says_what_to_set() {
    const ROLE: &str = "DEFINITIONS_TEST";
    const NAME: &str = "a_test_without_kedas_definitions_fails_and_says_what_to_set";
    if std::env::var_os(ROLE).is_some() {
        ApiServer::shared().await;
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--include-ignored", "--nocapture"])
        .env(ROLE, "without")
        .env_remove("KEDA_CRDS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("KEDA_CRDS is not set"), "{said}");
}

#[test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
fn manifests_are_made_by_kustomize_and_helm() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("kustomization.yaml", "namespace: made\nresources: [map.yaml]\n");
    write("map.yaml", &config_map("default", "map"));
    let made = tools::kustomize(folder.path());
    assert!(made.contains("kind: ConfigMap") && made.contains("namespace: made"), "{made}");

    write("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n");
    write("chart/values.schema.json", r#"{ "properties": { "key": { "type": "string" } } }"#);
    let template =
        "kind: {{ .Values.key }}\nname: {{ .Release.Name }}\nnamespace: {{ .Release.Namespace }}\n";
    write("chart/templates/object.yaml", template);
    let chart = folder.path().join("chart");
    let made = tools::helm_template(&chart, &["--set", "key=word", "--namespace", "other"]);
    for line in ["kind: word", "name: keda-sift", "namespace: other"] {
        assert!(made.contains(line), "{line} is missing in: {made}");
    }
    let refusal = tools::try_helm_template(&chart, &["--set", "key=7"]).unwrap_err();
    assert!(refusal.contains("key"), "{refusal}");
}

/// A process that is killed at the latest when the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn config_map(namespace: &str, name: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": namespace },
        "data": { "key": "value" },
    })
    .to_string()
}

fn names(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect()
}

/// The HTTP status of an answer.
fn code<T>(answer: kube::Result<T>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("no answer: {error}"),
    }
}

fn get(path: &str) -> http::Request<Vec<u8>> {
    http::Request::get(path).body(Vec::new()).unwrap()
}

/// A token of a service account for Entra, good for ten minutes.
async fn exchange_token(api: &ApiServer, namespace: &str, name: &str) -> String {
    api.service_account(namespace, name).await;
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec!["api://AzureADTokenExchange".to_owned()],
            expiration_seconds: Some(600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(api.admin(), namespace);
    let request = accounts.create_token_request(name, &PostParams::default(), &request).await;
    request.unwrap().status.unwrap().token
}
