//! A namespace of Azure's and an Entra, both stand-ins, and a scaler with a workload identity
//! between them.

use std::collections::HashMap;
use std::time::Duration;

use azure_stand_ins::entra::Entra;
use azure_stand_ins::{Message, Rights, ServiceBus};
use keda_sift::{identity, web};
use tempfile::NamedTempFile;

use super::{Authority, Settings, Sift, Trigger};

/// The name of a [`Cloud`]'s namespace.
pub const HOST: &str = "shop.servicebus.windows.net";
/// The scaler's service account, as its tokens name it.
pub const SUBJECT: &str = "system:serviceaccount:keda:keda-sift";
/// The identity that the scaler has of its own.
pub const CLIENT: &str = "00000000-0000-4000-8000-00000000c11e";
/// Another one that its service account may take.
pub const OTHER: &str = "00000000-0000-4000-8000-0000000007e2";
/// The tenant of both.
pub const TENANT: &str = "00000000-0000-4000-8000-000000007e4a";

/// A namespace of Azure's, by name, and an Entra that gives the scaler's service account tokens.
pub struct Cloud {
    /// The namespace, with nine messages in the queue `orders`.
    pub bus: ServiceBus,
    /// Who knows both identities.
    pub entra: Entra,
    /// Whose certificates the two show.
    pub authority: Authority,
    /// Where the scaler finds its service account's token.
    pub token_file: NamedTempFile,
}

impl Cloud {
    /// The namespace [`HOST`], in which the scaler's identity has these rights.
    pub async fn start(rights: Rights) -> Cloud {
        Cloud::at(HOST, rights).await
    }

    /// The same by another name.
    pub async fn at(host: &str, rights: Rights) -> Cloud {
        let authority = Authority::new("an authority");
        let tls = authority.issue("shop", &[host]);
        let bus = ServiceBus::builder().tls(&tls.cert, &tls.key).host(host).start().await;
        bus.grant(CLIENT, rights);
        bus.queue("orders").create();
        bus.fill("orders", 9, |n| Message::new("{}").subject(["a", "b", "b"][n % 3]));
        let tls = authority.issue("entra", &["localhost"]);
        let entra = Entra::start(&tls.cert, &tls.key).await;
        for client in [CLIENT, OTHER] {
            entra.federate(SUBJECT, client, TENANT);
        }
        let token_file = NamedTempFile::new().expect("a file");
        std::fs::write(token_file.path(), entra.service_account_token(SUBJECT)).expect("written");
        Cloud { bus, entra, authority, token_file }
    }

    /// A scaler whose pod has the identity.
    pub async fn sift(&self, allowed: &[&str]) -> Sift {
        Sift::with(self.settings(allowed)).await
    }

    /// Every host that a test names leads to the namespace, so that what leaves is seen.
    pub fn settings(&self, allowed: &[&str]) -> Settings {
        let identity = identity::Options {
            client_id: Some(CLIENT.to_owned()),
            tenant_id: Some(TENANT.to_owned()),
            token_file: Some(self.token_file.path().to_owned()),
            authority: Some(self.entra.authority()),
        };
        let hosts = [HOST, "shop.evil.example", "evil.example", "shop.bus.private.example"];
        let connect_to = hosts.map(|host| (host.to_owned(), self.bus.address()));
        let web =
            web::Options { ca: Some(self.authority.cert()), connect_to: HashMap::from(connect_to) };
        let allowed = allowed.iter().map(ToString::to_string).collect();
        let measure_timeout = Duration::from_secs(5);
        Settings { measure_timeout, identity, web, allowed, ..Settings::default() }
    }

    /// A trigger on the queue, let in by the scaler's identity.
    pub fn trigger(&self, sift: &Sift) -> Trigger {
        let trigger = sift.queue(&self.bus, "orders").without("connectionFromEnv");
        trigger.with("namespace", "shop")
    }
}
