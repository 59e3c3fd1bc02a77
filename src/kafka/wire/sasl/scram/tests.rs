//! A login with a broker that knows the password, and with those that lie.

use super::*;

/// What a broker knows of its users, and the one it says it is.
struct Broker {
    hash: Hash,
    password: &'static str,
    salt: &'static str,
    rounds: &'static str,
    nonce: fn(&str) -> String,
    signature: fn(Vec<u8>) -> String,
}

impl Broker {
    fn of(hash: Hash) -> Broker {
        Broker {
            hash,
            password: "hunter2",
            salt: "QSXCR+Q6sek8bf92",
            rounds: "4096",
            nonce: |nonce| format!("{nonce}3rfcNHYJY1ZVvWVs7j"),
            signature: |signature| format!("v={}", BASE64_STANDARD.encode(signature)),
        }
    }

    /// A login by this broker's rules, to its end.
    fn login(&self, mut client: Scram) -> Result<Step, SaslError> {
        let first = sent(client.respond(b"")?);
        let bare = first.strip_prefix("n,,").expect("no channel");
        let nonce = bare.rsplit_once("r=").expect("a nonce").1;
        let server = format!("r={},s={},i={}", (self.nonce)(nonce), self.salt, self.rounds);
        let last = sent(client.respond(server.as_bytes())?);
        let (unproven, proof) = last.rsplit_once(",p=").expect("a proof");
        let message = format!("{bare},{server},{unproven}");

        // The broker's side of RFC 5802, section 3: it knows the stored key, and not the client's.
        let rounds = self.rounds.parse().expect("a number");
        let salt = decode(self.salt).expect("base64");
        let salted = self.hash.salted(self.password, &salt, rounds);
        let mac = |key: &[u8], text: &[u8]| self.hash.mac(key, text).expect("a key");
        let stored = self.hash.digest(&mac(&salted, b"Client Key"));
        let signature = mac(&stored, message.as_bytes());
        let proof = decode(proof).expect("base64");
        let key: Vec<u8> = proof.iter().zip(signature.iter()).map(|(a, b)| a ^ b).collect();
        if *self.hash.digest(&key) != *stored {
            return client.respond(b"e=invalid-proof");
        }
        let server_key = mac(&salted, b"Server Key");
        let signature = mac(&server_key, message.as_bytes());
        client.respond((self.signature)(signature.to_vec()).as_bytes())
    }
}

fn sent(step: Step) -> String {
    match step {
        Step::Send(message) => String::from_utf8(message.to_vec()).expect("text"),
        step => panic!("{step:?}"),
    }
}

fn client(hash: Hash, password: &str) -> Scram {
    Scram::new(hash, Secret::from("a,lice=1"), Secret::from(password))
}

/// The first is RFC 7677's own; the second was reckoned by Python's `hashlib` and `hmac`.
#[test]
fn messages_are_those_of_the_standard() {
    let rows = [
        (
            Hash::Sha256,
            ("user", "pencil", "rOprNGfwEbeRWgbNEkqO"),
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
        (
            Hash::Sha512,
            ("a=,b", "pässword\u{aa}", "fyko+d2lbbFgONRv9qkxdawL"),
            "n,,n=a=3D=2Cb,r=fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=UVNYQ1IrUTZzZWs4YmY5Mg==,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,\
             p=Lo/zwqD36Uyi3l8FYU5gRVMD1A+yiiaf2WEXkDPOsHBH9BNfdKQGN7SbsDccSMenqQD22iUUwQI/SHdat7EpZA==",
            "v=g2njelXjpbLnaMfVKb3tv/crRbE5HVZ72QVgxMPM6grZFoojUMYOU99gsOaCllTdb77Ru5jDIlNE+H2PRyd4Zg==",
        ),
    ];
    for (hash, (username, password, nonce), first, challenge, last, signature) in rows {
        let mut client = Scram::new(hash, Secret::from(username), Secret::from(password));
        assert_eq!(sent(client.start(nonce.to_owned()).expect("a first message")), first);
        let proven = client.respond(challenge.as_bytes()).expect("a proof");
        assert_eq!(sent(proven), last);
        assert_eq!(client.respond(signature.as_bytes()), Ok(Step::Done));
        assert!(client.respond(signature.as_bytes()).is_err(), "a login ends once");
    }
}

#[test]
fn a_login_is_good_where_both_know_the_password() {
    for hash in [Hash::Sha256, Hash::Sha512] {
        let mut broker = Broker::of(hash);
        assert_eq!(broker.login(client(hash, "hunter2")), Ok(Step::Done));
        broker.rounds = "16384";
        assert_eq!(broker.login(client(hash, "hunter2")), Ok(Step::Done));
        let refused = broker.login(client(hash, "guessed")).expect_err("another password");
        let reason = "invalid-proof".to_owned();
        assert_eq!(refused, SaslError::Refused { mechanism: hash.name(), reason });
        assert!(refused.is_refusal());
    }
}

#[test]
fn a_broker_that_does_not_know_the_password_is_found_out() {
    let name = Hash::Sha256.name();
    let sha256 = || Broker::of(Hash::Sha256);
    let problem = |problem| SaslError::Challenge { mechanism: name, problem };
    let rounds = |rounds: &str| SaslError::Rounds {
        mechanism: name,
        rounds: rounds.to_owned(),
        fits: ROUNDS_FIT,
    };
    let wrong = SaslError::Signature { mechanism: name };
    let rows: Vec<(&str, Broker, SaslError)> = vec![
        (
            "another signature",
            Broker {
                signature: |mut signature| {
                    signature[31] ^= 1;
                    format!("v={}", BASE64_STANDARD.encode(signature))
                },
                ..sha256()
            },
            wrong.clone(),
        ),
        (
            "a part of the signature",
            Broker {
                signature: |signature| format!("v={}", BASE64_STANDARD.encode(&signature[..16])),
                ..sha256()
            },
            wrong.clone(),
        ),
        ("an empty signature", Broker { signature: |_| "v=".to_owned(), ..sha256() }, wrong),
        (
            "no signature",
            Broker { signature: |_| String::new(), ..sha256() },
            problem("no signature"),
        ),
        (
            "a signature of other letters",
            Broker { signature: |_| "v=***".to_owned(), ..sha256() },
            problem("no base64 for signature"),
        ),
        (
            "a nonce of its own",
            Broker { nonce: |_| "fyko+d2lbbFgONRv9qkxdawL3rfc".to_owned(), ..sha256() },
            problem("its nonce does not go on from ours"),
        ),
        (
            "our nonce alone",
            Broker { nonce: str::to_owned, ..sha256() },
            problem("its nonce does not go on from ours"),
        ),
        (
            "a nonce with a line break",
            Broker { nonce: |nonce| format!("{nonce}\na"), ..sha256() },
            problem("its nonce is not printable"),
        ),
        ("few rounds", Broker { rounds: "4095", ..sha256() }, rounds("4095")),
        ("no round", Broker { rounds: "0", ..sha256() }, rounds("0")),
        ("many rounds", Broker { rounds: "65537", ..sha256() }, rounds("65537")),
        ("all rounds", Broker { rounds: "4294967296", ..sha256() }, rounds("4294967296")),
        (
            "a number without end",
            Broker { rounds: "99999999999999999999999999", ..sha256() },
            rounds("99999999999999999999…"),
        ),
        ("rounds back", Broker { rounds: "-5000", ..sha256() }, problem("no rounds")),
        ("rounds in words", Broker { rounds: "many", ..sha256() }, problem("no rounds")),
        ("no salt", Broker { salt: "", ..sha256() }, problem("a salt of no use")),
        ("a salt of other letters", Broker { salt: "*", ..sha256() }, problem("no salt")),
    ];
    for (name, broker, expected) in rows {
        let error = broker.login(client(broker.hash, "hunter2")).expect_err(name);
        assert_eq!(error, expected, "{name}");
        assert!(error.to_string().len() <= 200, "{name}: {error}");
    }
}

#[test]
fn a_first_message_of_another_kind_is_refused() {
    let long = format!("r=a,s=QQ==,i=4096,x={}", "x".repeat(20_000));
    let salt = format!("r=a,s={},i=4096", "QUFB".repeat(400));
    let rows: &[(&str, &[u8], &str)] = &[
        ("an extension", b"m=1,r=a,s=QQ==,i=4096", "an extension that is not known"),
        ("an error", b"e=unknown-user", "refused the SCRAM-SHA-256 login: unknown-user"),
        ("nothing", b"", "no nonce"),
        ("fields the other way round", b"s=QQ==,r=a,i=4096", "no nonce"),
        ("no text", b"\xff\xfe", "it is not text"),
        ("a long one", long.as_bytes(), "it is too long"),
        ("a long salt", salt.as_bytes(), "a salt of no use"),
        ("the broker's proof at once", b"v=QQ==", "no nonce"),
    ];
    for (name, challenge, expected) in rows {
        let mut client = client(Hash::Sha256, "hunter2");
        client.respond(b"").expect("a first message");
        let told = client.respond(challenge).expect_err(name).to_string();
        assert!(told.contains(expected), "{name}: {told}");
        assert!(client.respond(b"v=").is_err(), "{name}: it went on");
    }
}

#[test]
fn each_login_has_a_nonce_of_its_own() {
    let (one, other) = (random_nonce().expect("random"), random_nonce().expect("random"));
    assert_ne!(one, other);
    assert!(one.len() == 32 && !one.contains(','), "{one}");
}

#[test]
fn nothing_of_a_login_is_shown() {
    let mut client = client(Hash::Sha256, "hunter2");
    client.respond(b"").expect("a first message");
    let shown = format!("{client:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("lice"), "{shown}");
}
