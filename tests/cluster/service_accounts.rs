//! `serviceAccountName`: a queue is read as the Job's own service account, with a token that
//! Kubernetes gives for it.

use std::time::Duration;

use azure_stand_ins::Rights;
use kubernetes_api::ApiServer;
use serde_json::json;
use sift_harness::cloud::{CLIENT, Cloud, OTHER, TENANT};
use sift_harness::{Settings, Sift, Trigger};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::operator::Operator;

const CLIENT_ID: &str = "azure.workload.identity/client-id";
const TENANT_ID: &str = "azure.workload.identity/tenant-id";
const COMPONENT: &str = "service-account-tokens";

/// A queue that one identity alone may read, which is federated with the service account `job` of a
/// namespace.
struct Shop {
    api: &'static ApiServer,
    cloud: Cloud,
    namespace: String,
}

impl Shop {
    async fn open() -> Shop {
        let api = ApiServer::shared().await;
        let cloud = Cloud::start(Rights::MANAGE).await;
        cloud.bus.grant(CLIENT, Rights::SEND);
        cloud.bus.grant(OTHER, Rights::LISTEN);
        let verifier = api.token_verifier();
        cloud.entra.trust_issuer(move |token| {
            let claims = verifier.verify(token).ok()?;
            Some((claims.subject, claims.audiences.first()?.clone()))
        });
        let namespace = api.namespace("media").await;
        cloud.entra.federate(&format!("system:serviceaccount:{namespace}:job"), OTHER, TENANT);
        Shop { api, cloud, namespace }
    }

    async fn account(&self, name: &str, annotations: &[(&str, &str)]) {
        let annotations: std::collections::BTreeMap<_, _> = annotations.iter().copied().collect();
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": name, "namespace": self.namespace, "annotations": annotations },
        });
        self.api.apply(&account.to_string()).await;
    }

    async fn sift(&self, operator: &Operator<'_>) -> Sift {
        Sift::with(Settings { kubernetes: operator.kubernetes(), ..self.cloud.settings(&[]) }).await
    }

    fn trigger(&self, sift: &Sift, account: &str) -> Trigger {
        let trigger = self.cloud.trigger(sift).within(&self.namespace);
        trigger.with("serviceAccountName", account).with("countFrom", "peek")
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_queue_is_read_as_the_job_s_service_account() {
    let shop = Shop::open().await;
    shop.account("job", &[(CLIENT_ID, OTHER), (TENANT_ID, TENANT)]).await;
    let operator = Operator::granting(shop.api, &[COMPONENT]).await;
    let sift = shop.sift(&operator).await;
    assert_eq!(shop.trigger(&sift, "job").count().await, 9);

    let asked = shop.cloud.entra.asked();
    assert_eq!(
        (asked.len(), asked[0]["client_id"].as_str(), asked[0]["tenant"].as_str()),
        (1, OTHER, TENANT)
    );
    let claims =
        shop.api.verify_token(&asked[0]["client_assertion"]).expect("a token of the cluster's");
    assert_eq!(claims.subject, format!("system:serviceaccount:{}:job", shop.namespace));
    assert_eq!(claims.audiences, ["api://AzureADTokenExchange"]);
    assert_eq!(claims.expires_at - claims.issued_at, 600);

    // The scaler itself may not read it, so what was read was not read as the scaler.
    let own = shop.cloud.trigger(&sift).within(&shop.namespace).with("countFrom", "peek");
    let (code, _) = own.error().await;
    assert!(matches!(code, Code::PermissionDenied | Code::Unauthenticated), "{code:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn each_renewal_has_a_token_of_its_own_and_no_poll_fails() {
    let shop = Shop::open().await;
    shop.account("job", &[(CLIENT_ID, OTHER), (TENANT_ID, TENANT)]).await;
    let operator = Operator::granting(shop.api, &[COMPONENT]).await;
    let sift = shop.sift(&operator).await;
    let trigger = shop.trigger(&sift, "job");
    shop.cloud.entra.lifetime(Duration::from_secs(6));
    let begun = Instant::now();
    while shop.cloud.entra.exchanges() < 3 {
        assert_eq!(trigger.count().await, 9);
        assert!(begun.elapsed() < Duration::from_secs(120), "it is not renewed");
        sleep(Duration::from_millis(100)).await;
    }
    let tokens: std::collections::HashSet<_> = shop
        .cloud
        .entra
        .asked()
        .into_iter()
        .map(|asked| asked["client_assertion"].clone())
        .collect();
    assert!(tokens.len() >= 3, "{} tokens", tokens.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn annotations_say_the_identity_and_their_faults_are_told() {
    let shop = Shop::open().await;
    let operator = Operator::granting(shop.api, &[COMPONENT]).await;
    let sift = shop.sift(&operator).await;
    let namespace = &shop.namespace;
    for (name, annotations, told) in [
        ("bare", &[][..], "has no annotation azure.workload.identity/client-id; give it"),
        (
            "blank",
            &[(CLIENT_ID, "a b")][..],
            "has \"a b\" in its annotation azure.workload.identity/client-id",
        ),
        (
            "astray",
            &[(CLIENT_ID, OTHER), (TENANT_ID, "../common")][..],
            "has \"../common\" in its annotation",
        ),
    ] {
        shop.account(name, annotations).await;
        let (code, words) = shop.trigger(&sift, name).error().await;
        assert_eq!(code, Code::FailedPrecondition, "{words}");
        assert!(words.contains(&format!("service account {namespace}/{name} {told}")), "{words}");
    }
    assert_eq!(shop.cloud.entra.exchanges(), 0);

    // Without a tenant it is the scaler's; another one is asked as it is named.
    shop.account("job", &[(CLIENT_ID, OTHER)]).await;
    assert_eq!(shop.trigger(&sift, "job").count().await, 9);
    shop.account("foreign", &[(CLIENT_ID, OTHER), (TENANT_ID, "elsewhere.example")]).await;
    let (code, words) = shop.trigger(&sift, "foreign").error().await;
    assert_eq!(code, Code::Unauthenticated, "{words}");
    assert!(words.contains("elsewhere.example") && words.contains("AADSTS90002"), "{words}");
    let tenants: Vec<_> =
        shop.cloud.entra.asked().iter().map(|asked| asked["tenant"].clone()).collect();
    assert_eq!(tenants, [TENANT, "elsewhere.example"]);

    // What is mended works with the next call.
    shop.account("bare", &[(CLIENT_ID, OTHER)]).await;
    shop.cloud.entra.federate(&format!("system:serviceaccount:{namespace}:bare"), OTHER, TENANT);
    assert_eq!(shop.trigger(&sift, "bare").count().await, 9);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn without_the_right_the_error_names_it_and_what_grants_it() {
    let shop = Shop::open().await;
    shop.account("job", &[(CLIENT_ID, OTHER), (TENANT_ID, TENANT)]).await;
    let operator = Operator::granting(shop.api, &[]).await;
    let sift = shop.sift(&operator).await;
    let trigger = shop.trigger(&sift, "job");
    let (code, words) = trigger.error().await;
    assert_eq!(code, Code::PermissionDenied);
    let namespace = &shop.namespace;
    let expected = format!(
        "keda-sift may not get serviceaccounts in namespace {namespace}; grant it with the component {COMPONENT}"
    );
    assert!(words.contains(&expected), "{words}");

    let half = shop.api.grant(operator.account.user()).to(&["get"], "serviceaccounts");
    half.in_namespace(namespace).await;
    let (_, words) = trigger.error().await;
    let expected = format!(
        "keda-sift may not create serviceaccounts/token in namespace {namespace}; grant it"
    );
    assert!(words.contains(&expected), "{words}");

    operator.grant(COMPONENT).await;
    assert_eq!(trigger.count().await, 9);

    let outside = Sift::with(shop.cloud.settings(&[])).await;
    let (code, words) = shop.trigger(&outside, "job").error().await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(
        words.contains("no access to the Kubernetes API") && words.contains(COMPONENT),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn another_namespace_s_service_account_is_out_of_reach() {
    let shop = Shop::open().await;
    shop.account("job", &[(CLIENT_ID, OTHER), (TENANT_ID, TENANT)]).await;
    let operator = Operator::granting(shop.api, &[COMPONENT]).await;
    let sift = shop.sift(&operator).await;
    let tenant = shop.api.namespace("tenant").await;

    let (code, words) = shop.trigger(&sift, "job").within(&tenant).error().await;
    assert_eq!(code, Code::NotFound);
    assert!(
        words.contains(&format!("ServiceAccount job is not there in namespace {tenant}")),
        "{words}"
    );
    let victim = &shop.namespace;
    for name in [
        format!("{victim}/job"),
        format!("../../{victim}/serviceaccounts/job"),
        "job?x=".to_owned(),
        "job%2f".to_owned(),
    ] {
        let (code, words) = shop.trigger(&sift, &name).within(&tenant).error().await;
        assert_eq!(code, Code::InvalidArgument, "{name}: {words}");
    }
    for namespace in ["", "..", &format!("{tenant}/../{victim}"), "A"] {
        let (code, words) = shop.trigger(&sift, "job").within(namespace).error().await;
        assert_eq!(code, Code::InvalidArgument, "{namespace}: {words}");
    }
    assert_eq!(shop.cloud.entra.exchanges(), 0);
    assert!(shop.api.requests().by(&operator.account.user()).in_namespace(victim).is_empty());
}
