//! The yardsticks over AMQP: links of fe2o3-amqp that do nothing with what they get.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection, Delivery, Receiver, Sender, Session};
use fe2o3_amqp_cbs::client::CbsClient;
use fe2o3_amqp_cbs::token::CbsToken;
use fe2o3_amqp_types::messaging::{
    AmqpValue, ApplicationProperties, Body, Message, MessageId, Properties,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_amqp::Value;
use serde_amqp::primitives::OrderedMap;
use sha2::Sha256;
use tokio::net::TcpStream;
use url::form_urlencoded::byte_serialize;

const REPLY_TO: &str = "bare";
/// What a receiver may be sent before it has settled anything.
const CREDIT: u32 = 1_000;

/// A connection with a claim for one queue.
struct Bare {
    _connection: ConnectionHandle<()>,
    session: SessionHandle<()>,
    _cbs: CbsClient,
}

/// The links to a queue's management node.
pub(crate) struct Peeking {
    sender: Sender,
    receiver: Receiver,
    _bare: Bare,
}

/// A link over which a queue's messages come to be settled.
pub(crate) struct Receiving {
    receiver: Receiver,
    _bare: Bare,
}

impl Bare {
    async fn open(connection_string: &str, queue: &str) -> Bare {
        let field = |name: &str| {
            let mut fields = connection_string.split(';').filter_map(|part| part.split_once('='));
            fields.find(|(key, _)| *key == name).expect("a field").1
        };
        let address = field("Endpoint").trim_start_matches("sb://");
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("TCP");
        let mut connection = Connection::builder()
            .container_id("bare")
            .hostname("127.0.0.1")
            .sasl_profile(SaslProfile::Anonymous)
            .open_with_stream(stream)
            .await
            .expect("a connection");
        let mut session = Session::begin(&mut connection).await.expect("a session");
        let mut cbs = CbsClient::attach(&mut session).await.expect("claims");
        let audience = format!("amqp://127.0.0.1/{queue}");
        let token = signature(&audience, field("SharedAccessKeyName"), field("SharedAccessKey"));
        let token = CbsToken::new(token, "servicebus.windows.net:sastoken", None);
        cbs.put_token(audience, token).await.expect("a claim");
        Bare { _connection: connection, session, _cbs: cbs }
    }
}

impl Peeking {
    pub(crate) async fn open(connection_string: &str, queue: &str) -> Peeking {
        let mut bare = Bare::open(connection_string, queue).await;
        let node = format!("{queue}/$management");
        let sender = Sender::builder()
            .name("requests")
            .source(REPLY_TO)
            .target(node.clone())
            .attach(&mut bare.session)
            .await
            .expect("a link");
        let receiver = Receiver::builder()
            .name("replies")
            .source(node)
            .target(REPLY_TO)
            .auto_accept(true)
            .attach(&mut bare.session)
            .await
            .expect("a link");
        Peeking { sender, receiver, _bare: bare }
    }

    /// Peeks once: how many messages there were.
    pub(crate) async fn peek(&mut self, from: i64, most: i32) -> usize {
        let text = |text: &str| Value::String(text.to_owned());
        let mut body = OrderedMap::new();
        body.insert(text("from-sequence-number"), Value::Long(from));
        body.insert(text("message-count"), Value::Int(most));
        let properties = Properties::builder()
            .message_id(MessageId::String(from.to_string()))
            .reply_to(REPLY_TO.to_owned())
            .build();
        let operation = ApplicationProperties::builder()
            .insert("operation", "com.microsoft:peek-message")
            .build();
        let request = Message::builder()
            .properties(properties)
            .application_properties(operation)
            .body(Body::Value(AmqpValue(Value::Map(body))))
            .build();
        drop(self.sender.send_batchable(request).await.expect("it takes requests"));
        let reply: Delivery<Body<Value>> = self.receiver.recv().await.expect("a reply");
        match reply.into_message().body {
            Body::Value(AmqpValue(Value::Map(body))) => match body.get(&text("messages")) {
                Some(Value::List(messages)) => messages.len(),
                other => panic!("{other:?}"),
            },
            // Past the last message.
            _ => 0,
        }
    }

    /// Peeks at all messages of a queue whose numbers have no gaps; how many there were.
    pub(crate) async fn browse(&mut self) -> usize {
        let mut messages = 0;
        loop {
            let from = i64::try_from(messages).expect("a number") + 1;
            match self.peek(from, 1_000).await {
                0 => return messages,
                more => messages += more,
            }
        }
    }
}

impl Receiving {
    pub(crate) async fn open(connection_string: &str, queue: &str) -> Receiving {
        let mut bare = Bare::open(connection_string, queue).await;
        let receiver = Receiver::builder()
            .name("receiver")
            .source(queue)
            .target("bare")
            .credit_mode(CreditMode::Auto(CREDIT))
            .auto_accept(true)
            .attach(&mut bare.session)
            .await
            .expect("a link");
        Receiving { receiver, _bare: bare }
    }

    /// Takes so many messages.
    pub(crate) async fn take(&mut self, messages: usize) {
        for _ in 0..messages {
            let _message: Delivery<Body<Value>> = self.receiver.recv().await.expect("a message");
        }
    }
}

/// A shared access signature that is good for an hour.
fn signature(resource: &str, key_name: &str, key: &str) -> String {
    let ends = SystemTime::now() + Duration::from_secs(3_600);
    let ends = ends.duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let resource: String = byte_serialize(resource.as_bytes()).collect();
    let mut signed = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key");
    signed.update(format!("{resource}\n{ends}").as_bytes());
    let signature = BASE64_STANDARD.encode(signed.finalize().into_bytes());
    let signature: String = byte_serialize(signature.as_bytes()).collect();
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={ends}&skn={key_name}")
}
