//! What is installed: the same twice, and what the chart has besides.

/// The same installation twice: as a kustomization and by values of the chart.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) namespace: &'static str,
    /// A folder of `manifests/`.
    pub(super) of: &'static str,
    pub(super) components: &'static [&'static str],
    pub(super) values: &'static [&'static str],
}

/// Each component by itself or with what it needs, each overlay, and much of it together.
pub(super) static VARIANTS: &[Variant] = &[
    Variant { namespace: "keda-sift", of: ".", components: &[], values: &[] },
    Variant { namespace: "elsewhere", of: "base", components: &[], values: &[] },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["warm-up"],
        values: &["warmUp.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["events", "warm-up"],
        values: &["warmUp.enabled=true", "events.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["service-account-tokens"],
        values: &["serviceAccountTokens.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["trigger-authentications"],
        values: &["triggerAuthentications.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["diagnostics"],
        values: &["diagnostics.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["service-monitor"],
        values: &["serviceMonitor.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["azure-monitor"],
        values: &[
            "serviceMonitor.enabled=true",
            "serviceMonitor.apiVersion=azmonitoring.coreos.com/v1",
            "serviceMonitor.prometheusNamespace=kube-system",
        ],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["alerts", "dashboard", "trigger-metrics"],
        values: &["alerts.enabled=true", "dashboard.enabled=true", "triggerMetrics=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["workload-identity"],
        values: &["workloadIdentity.enabled=true", PLACEHOLDER],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["aks-keda-add-on"],
        values: &["networkPolicy.kedaNamespace=kube-system"],
    },
    Variant {
        namespace: "keda-sift",
        of: "overlays/aks",
        components: &[],
        values: &[
            "workloadIdentity.enabled=true",
            PLACEHOLDER,
            "networkPolicy.kedaNamespace=kube-system",
        ],
    },
    Variant {
        namespace: "keda-sift",
        of: "overlays/mtls",
        components: &[],
        values: &["tls.enabled=true"],
    },
    Variant { namespace: "keda", of: "overlays/beside-keda", components: &[], values: &[] },
    Variant {
        namespace: "keda",
        of: "overlays/beside-keda",
        components: &["warm-up", "service-monitor"],
        values: &["warmUp.enabled=true", "serviceMonitor.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["single-namespace"],
        values: &["singleNamespace=true"],
    },
    Variant {
        namespace: "team-a",
        of: "overlays/single-namespace",
        components: &[],
        values: &["singleNamespace=true", "warmUp.enabled=true", "events.enabled=true"],
    },
    Variant {
        namespace: "team-a",
        of: "overlays/single-namespace",
        components: &["service-account-tokens", "trigger-authentications", "single-namespace"],
        values: &[
            "singleNamespace=true",
            "warmUp.enabled=true",
            "events.enabled=true",
            "serviceAccountTokens.enabled=true",
            "triggerAuthentications.enabled=true",
        ],
    },
    Variant {
        namespace: "keda-sift",
        of: "overlays/aks",
        components: &[
            "mtls",
            "diagnostics",
            "trigger-authentications",
            "service-account-tokens",
            "service-monitor",
            "events",
            "warm-up",
        ],
        values: &[
            "workloadIdentity.enabled=true",
            PLACEHOLDER,
            "networkPolicy.kedaNamespace=kube-system",
            "tls.enabled=true",
            "diagnostics.enabled=true",
            "triggerAuthentications.enabled=true",
            "serviceAccountTokens.enabled=true",
            "serviceMonitor.enabled=true",
            "events.enabled=true",
            "warmUp.enabled=true",
        ],
    },
];

/// What the component has where a user's client ID belongs.
const PLACEHOLDER: &str = "workloadIdentity.clientId=00000000-0000-0000-0000-000000000000";

/// What the chart has besides, in namespaces that are there.
pub(super) const CHART_ALONE: &[&[&str]] = &[
    &["warmUp.enabled=true,events.enabled=true", "watchNamespaces={team-a,team-b}"],
    &["tls.enabled=true,tls.existingSecret=mine", "tls.clientCertificates=false"],
    &[
        "tls.enabled=true",
        "tls.dnsNames={sift.example.com}",
        "fullnameOverride=sifter,nameOverride=sifting",
    ],
    &[
        "replicas=3,image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "image.pullPolicy=Always,image.pullSecrets[0].name=registry",
        "measureTimeout=20s,forgetAfter=30m,log=debug,logFormat=text,oauthAllowHosts={login.example.com}",
        "azure.namespaces={shop.servicebus.windows.net},azure.allowSuffixes={servicebus.example.com}",
        "warmUp.enabled=true,warmUp.timeout=30s,warmUp.scalerAddresses={sift.example.com}",
        "workloadIdentity.enabled=true,workloadIdentity.tenantId=11111111-2222-3333-4444-555555555555",
        "serviceMonitor.enabled=true,serviceMonitor.labels.release=prometheus,serviceMonitor.interval=15s",
        "alerts.enabled=true,alerts.labels.release=prometheus",
        "dashboard.enabled=true,dashboard.annotations.grafana_folder=Scaling",
        "networkPolicy.kedaPodLabels.app=keda-operator",
        "serviceAccount.create=false,serviceAccount.name=mine",
        "podAnnotations.a=b,podLabels.c=d,priorityClassName=high,nodeSelector.e=f",
        "tolerations[0].operator=Exists,topologySpreadConstraints[0].maxSkew=2",
        "topologySpreadConstraints[0].labelSelector.matchLabels.c=d",
        "topologySpreadConstraints[0].topologyKey=zone,topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
        "extraEnv[0].name=RUST_BACKTRACE,extraEnv[0].value=full,extraVolumes[0].name=more",
        "extraVolumeMounts[0].name=more,extraVolumeMounts[0].mountPath=/more",
    ],
    &["diagnostics.enabled=true,diagnostics.tokenSecret=mine,diagnostics.namespaces={shop}"],
    &["networkPolicy.enabled=false,podDisruptionBudget.enabled=false"],
];
