use test_basics::Rows;

use super::*;
use crate::metadata::Invalid;
use crate::service_bus::ServiceBus;
use crate::source;

const SECRET: &str = "aHVudGVyMg+/==";

/// What the rows decode to, and nothing else.
fn decode(rows: Rows<'_>) -> Result<ServiceBusTrigger, Invalid> {
    let rows = rows.iter().chain(&[("countLimit", "100")]);
    source::decode::<ServiceBus>(rows, Selection::default())
}

fn decoded(rows: Rows<'_>) -> ServiceBusTrigger {
    decode(rows).unwrap_or_else(|invalid| panic!("{rows:?}: {invalid}"))
}

fn complaints(rows: Rows<'_>) -> Vec<String> {
    decode(rows).expect_err("a complaint").complaints().to_vec()
}

fn connection(rest: &str) -> String {
    format!(
        "Endpoint=sb://orders.servicebus.windows.net/;SharedAccessKeyName=all;SharedAccessKey={SECRET}{rest}"
    )
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn queue(text: &str) -> Entities {
    Entities::One(Entity::Queue(name(text)))
}

fn subscription(topic: &str, text: &str) -> Entities {
    Entities::One(Entity::Subscription { topic: name(topic), name: name(text) })
}

#[test]
fn a_trigger_of_keda_s_scaler_keeps_its_meaning() {
    let decoded = decode(&[
        ("queueName", "functions-sbqueue"),
        ("namespace", "service-bus-namespace"),
        ("messageCount", "7"),
        ("activationMessageCount", "2"),
        ("cloud", "azurePublicCloud"),
        ("endpointSuffix", "ignored.example"),
        ("useRegex", "false"),
        ("operation", "max"),
    ])
    .expect("a complete trigger");
    let expected = ServiceBusTrigger {
        access: Access::Identity {
            namespace: "service-bus-namespace".to_owned(),
            cloud: Cloud::Public,
            who: AzurePrincipal::default(),
        },
        entities: queue("functions-sbqueue"),
        scaling: Scaling {
            metric_name: "azure-servicebus-functions-sbqueue".to_owned(),
            target: 7,
            activation: 2,
            count_limit: NonZeroU64::new(100),
        },
        count_from: CountFrom::Auto,
        count_by: CountBy::Messages,
        transport: Transport::Amqp,
        selection: Selection::default(),
    };
    assert_eq!(decoded, expected);
    let least = self::decoded(&[("queueName", "q"), ("namespace", "n")]);
    assert_eq!(least.scaling.target, 5);
}

#[test]
fn what_is_counted_in_has_keda_s_names_for_it() {
    let pattern = |topic: Option<&str>, text: &str, operation| {
        let pattern = Pattern::parse(text).expect("a pattern");
        Entities::Matching(Matching { topic: topic.map(name), pattern, operation })
    };
    let rows: &[(Rows<'_>, Entities, &str)] = &[
        (&[("queueName", " in/voices ")], queue("in/voices"), "in-voices"),
        (&[("topicName", "t"), ("subscriptionName", "s")], subscription("t", "s"), "t"),
        (
            &[("queueName", "a.*"), ("useRegex", "true")],
            pattern(None, "a.*", Operation::Sum),
            "queue-regex",
        ),
        (
            &[
                ("topicName", "t"),
                ("subscriptionName", "^s"),
                ("useRegex", "1"),
                ("operation", "avg"),
            ],
            pattern(Some("t"), "^s", Operation::Avg),
            "topic-regex",
        ),
    ];
    for (rows, expected, metric) in rows {
        let decoded = decode(&[rows, &[("namespace", "n")][..]].concat()).expect("a trigger");
        assert_eq!(&decoded.entities, expected, "{rows:?}");
        assert_eq!(decoded.scaling.metric_name, format!("azure-servicebus-{metric}"), "{rows:?}");
    }
}

#[test]
fn a_connection_string_s_entity_need_not_be_named_and_must_agree() {
    let rows: &[(&str, Rows<'_>, Option<Entities>)] = &[
        (";EntityPath=q", &[], Some(queue("q"))),
        (";EntityPath=q", &[("queueName", "Q")], Some(queue("Q"))),
        (";EntityPath=q", &[("queueName", "other")], None),
        (";EntityPath=t", &[("subscriptionName", "s")], Some(subscription("t", "s"))),
        (
            ";EntityPath=t",
            &[("topicName", "t"), ("subscriptionName", "s")],
            Some(subscription("t", "s")),
        ),
        (";EntityPath=u", &[("topicName", "t"), ("subscriptionName", "s")], None),
        (";EntityPath=t/Subscriptions/s", &[], Some(subscription("t", "s"))),
        (
            ";EntityPath=t/subscriptions/s",
            &[("topicName", "t"), ("subscriptionName", "s")],
            Some(subscription("t", "s")),
        ),
        (";EntityPath=t/subscriptions/s", &[("topicName", "t"), ("subscriptionName", "r")], None),
        (";EntityPath=q", &[("queueName", "q"), ("useRegex", "true")], None),
        (";EntityPath=..", &[("queueName", "q")], None),
        ("", &[("queueName", "q")], Some(queue("q"))),
    ];
    for (rest, rows, expected) in rows {
        let text = connection(rest);
        let all = [rows, &[("connectionFromEnv", text.as_str())][..]].concat();
        match expected {
            Some(expected) => assert_eq!(&decoded(&all).entities, expected, "{rest} {rows:?}"),
            None => {
                let told = complaints(&all);
                let [told] = &told[..] else { panic!("{rest} {rows:?}: {told:#?}") };
                assert!(
                    told.starts_with("connectionFromEnv: its value has an EntityPath that"),
                    "{told}"
                );
                assert!(!told.contains("aHVudGVyMg"), "{told}");
            }
        }
    }
}

#[test]
fn an_identity_is_the_scaler_s_or_a_named_one() {
    let complete = [("queueName", "q"), ("namespace", "orders")];
    let client = "6f1c0a2e-0000-4000-8000-00000000000a";
    let rows: &[(Rows<'_>, Cloud, AzurePrincipal)] = &[
        (&[], Cloud::Public, AzurePrincipal::default()),
        (&[("cloud", "AzureUSGovernmentCloud")], Cloud::UsGovernment, AzurePrincipal::default()),
        (&[("cloud", "azurechinacloud")], Cloud::China, AzurePrincipal::default()),
        (
            &[("cloud", "Private"), ("endpointSuffix", "servicebus.cloudapi.de")],
            Cloud::Private("servicebus.cloudapi.de".to_owned()),
            AzurePrincipal::default(),
        ),
        (
            &[("identityId", client), ("identityTenantId", "contoso.onmicrosoft.com")],
            Cloud::Public,
            AzurePrincipal::parse(Some(client), Some("contoso.onmicrosoft.com"))
                .expect("an identity"),
        ),
    ];
    for (rows, cloud, who) in rows {
        let access = decoded(&[&complete[..], rows].concat()).access;
        let (cloud, who) = (cloud.clone(), who.clone());
        let expected = Access::Identity { namespace: "orders".to_owned(), cloud, who };
        assert_eq!(access, expected, "{rows:?}");
    }
    let full = decoded(&[("queueName", "q"), ("namespace", "Orders.servicebus.windows.net")]);
    let site = full.access.trust(&Hosts::default()).expect("a host of Azure's");
    assert_eq!(site.host(), "orders.servicebus.windows.net");
}

#[test]
fn what_does_not_fit_is_told_by_its_key() {
    let connection = connection("");
    let n = ("namespace", "n");
    let q = ("queueName", "q");
    let regex = ("useRegex", "true");
    let rows: &[(Rows<'_>, &[&str])] = &[
        (
            &[],
            &[
                "namespace: is missing; give it to ask with workload identity, or a con",
                "queueName: is missing; give a queue, or topicName and",
            ],
        ),
        (&[n, ("topicName", "t")], &["subscriptionName: is missing; give the subscription"]),
        (&[n, ("subscriptionName", "s")], &["topicName: is missing; give the topic"]),
        (&[n, q, ("topicName", "t")], &["topicName: \"t\" does not go with queueName"]),
        (
            &[n, q, ("subscriptionName", "s")],
            &["subscriptionName: \"s\" does not go with queueName"],
        ),
        (&[n, ("queueName", "a b")], &["queueName: \"a b\" is not a name; give letters"]),
        (
            &[n, ("queueName", "../$Resources/queues")],
            &["queueName: \"../$Resources/queues\" is not a name"],
        ),
        (
            &[n, ("queueName", "t/Subscriptions/s")],
            &["queueName: \"t/Subscriptions/s\" is a subscription; give topicName"],
        ),
        (
            &[n, ("queueName", "("), regex],
            &["queueName: \"(\" is not a regular expression: unclosed group; give one"],
        ),
        (&[n, q, ("messageCount", "0")], &["messageCount: \"0\" is too small; give 1 or more"]),
        (
            &[n, q, ("activationMessageCount", "-1")],
            &["activationMessageCount: \"-1\" is too small"],
        ),
        (
            &[n, q, ("activationMessageCount", "100")],
            &["countLimit: \"100\" is not above activationMessageCount; give more than 100"],
        ),
        (
            &[n, q, ("operation", "min")],
            &["operation: \"min\" is not known; give sum or max or avg"],
        ),
        (
            &[n, q, ("cloud", "AzureGermanCloud")],
            &["cloud: \"AzureGermanCloud\" is not known; give AzurePublicCloud or"],
        ),
        (&[n, q, ("cloud", "private")], &["endpointSuffix: is missing; cloud: Private needs"]),
        (
            &[q, ("namespace", "evil.example")],
            &["namespace: \"evil.example\" is not a namespace under servicebus.windows.net; give"],
        ),
        (&[q, ("namespace", "a@evil.example")], &["namespace: its value is not a namespace under"]),
        (
            &[q, ("namespace", "shop.servicebus.usgovcloudapi.net")],
            &[
                "namespace: \"shop.servicebus.usgovcloudapi.net\" is in another cloud than servicebus.windows.net; give it with cloud: AzureUSGovernmentCloud",
            ],
        ),
        (
            &[q, ("namespace", "shop.servicebus.windows.net"), ("cloud", "AzureChinaCloud")],
            &[
                "namespace: \"shop.servicebus.windows.net\" is in another cloud than servicebus.chinacloudapi.cn; give it with cloud: AzurePublicCloud",
            ],
        ),
        (
            &[q, ("namespace", "shop.privatelink.servicebus.windows.net")],
            &[
                "namespace: \"shop.privatelink.servicebus.windows.net\" is the name of a private link; give shop.servicebus.windows.net",
            ],
        ),
        (
            &[q, ("namespace", "sb://shop.servicebus.windows.net/")],
            &[
                "namespace: \"sb://shop.servicebus.windows.net/\" has a scheme; give shop.servicebus.windows.net",
            ],
        ),
        (
            &[q, ("namespace", "https://shop")],
            &["namespace: \"https://shop\" has a scheme; give shop"],
        ),
        (
            &[q, ("namespace", "shop.servicebus.windows.net:5671")],
            &[
                "namespace: \"shop.servicebus.windows.net:5671\" is more than the name of a host; give shop.servicebus.windows.net",
            ],
        ),
        (
            &[q, ("namespace", connection.as_str())],
            &["namespace: its value is a connection string; give it as connectionFromEnv"],
        ),
        (
            &[q, ("connectionFromEnv", "shop.servicebus.windows.net")],
            &["connectionFromEnv: its value is the name of a host; give it as namespace"],
        ),
        (
            &[q, ("connection", "SERVICEBUS_CONNECTION")],
            &["connection: its value is the name of a variable, not what it holds; give"],
        ),
        (&[q, ("namespace", "a/b")], &["namespace: \"a/b\" is not a namespace under"]),
        (&[n, q, ("identityId", "a b")], &["identityId: \"a b\" is not a client ID"]),
        (
            &[n, q, ("identityTenantId", "../common")],
            &["identityTenantId: \"../common\" is not a tenant"],
        ),
        (
            &[n, q, ("serviceAccountName", "../a")],
            &["serviceAccountName: \"../a\" is not the name of an object; give lower-case"],
        ),
        (
            &[n, q, ("serviceAccountName", "sa")],
            &["serviceAccountName: \"sa\" is of the trigger's namespace, which the request"],
        ),
        (
            &[q, ("connection", connection.as_str()), ("serviceAccountName", "a")],
            &[
                "serviceAccountName: \"a\" does not go with connection",
                "serviceAccountName: \"a\" is of the trigger's namespace",
            ],
        ),
        (
            &[n, q, ("connectionFromEnv", connection.as_str())],
            &["namespace: \"n\" does not go with connection"],
        ),
        (
            &[q, ("connection", connection.as_str()), ("identityId", "a")],
            &["identityId: \"a\" does not go with connection"],
        ),
        (
            &[q, ("connectionFromEnv", "hunter2")],
            &["connectionFromEnv: its value has a part that is no <name>=<value>"],
        ),
        (
            &[q, ("connection", "Endpoint=sb://a")],
            &["connection: its value has neither SharedAccessKey nor"],
        ),
        (
            &[n, q, ("countBy", "keys")],
            &["countBy: \"keys\" is not known; give messages or sessions"],
        ),
        (
            &[n, q, ("countFrom", "records")],
            &["countFrom: \"records\" is not known; give auto or management or peek"],
        ),
        (
            &[n, q, ("countFrom", "management"), ("eventType", "a")],
            &["countFrom: \"management\" does not go with eventType"],
        ),
        (
            &[n, q, ("countFrom", "management"), ("filter", "a")],
            &["countFrom: \"management\" does not go with filter"],
        ),
        (
            &[n, q, ("countFrom", "management"), ("countBy", "sessions")],
            &["countFrom: \"management\" goes with countBy messages alone"],
        ),
        (&[n, q, regex, ("eventType", "a")], &["useRegex: \"true\" does not go with eventType"]),
        (
            &[n, q, regex, ("countBy", "sessions")],
            &["useRegex: \"true\" does not go with countBy: sessions"],
        ),
        (
            &[n, q, regex, ("countFrom", "peek")],
            &["useRegex: \"true\" does not go with countFrom: peek"],
        ),
        (
            &[n, q, ("transport", "AMQP")],
            &["transport: \"AMQP\" is not known; give amqp or websocket"],
        ),
        (&[n, q, ("queuName", "x")], &["queuName: is not a parameter; the nearest is queueName"]),
    ];
    for (rows, expected) in rows {
        let told = complaints(rows);
        let each = told.iter().zip(*expected).all(|(told, expected)| told.starts_with(expected));
        assert!(told.len() == expected.len() && each, "{rows:?}: {told:#?}");
    }
}

#[test]
fn no_secret_is_shown() {
    let text = connection("");
    let decoded = decode(&[("connectionFromEnv", &text), ("queueName", "q")]).expect("a trigger");
    assert!(!format!("{decoded:?}").contains("aHVudGVyMg"));
}
