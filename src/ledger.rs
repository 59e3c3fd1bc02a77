//! Who holds how much of the memory that tenants can make grow.
//!
//! There is one [`Ledger`] for the process and an account for each namespace. What a trigger makes
//! the process hold is charged before it is taken: large frames, records that are decompressed,
//! matches, and what is kept of metadata. A charge that is refused is no disaster: readers wait,
//! matches become a lower bound, a new trigger is an error.
//!
//! A namespace may hold as much as is then left free for the others. So one alone may hold a half
//! of all, two that want everything a third each, and a newcomer always finds as much as each of
//! them has. What passes comes before what stays: with records under way it may hold half as much
//! as is left free, and it may keep a third of what others leave free of what they keep. So a
//! namespace with more matches than it may keep can still read, and one that reads all that it may
//! can still ask.
//!
//! # References
//! - A. Choudhury and E. Hahne, "Dynamic queue length thresholds for shared-memory packet
//!   switches", 1998: the rule

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::lock::lock;
use crate::metadata::one_line;

/// Bytes that triggers may make a process hold of whose limit nothing is known.
pub const DEFAULT_LIMIT: usize = 512 * 1024 * 1024;

/// The memory of the process that tenants share.
#[derive(Debug)]
pub struct Ledger {
    limit: usize,
    books: Mutex<Books>,
    /// Told whenever something is given back.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Books {
    all: Held,
    by_use: [usize; Use::ALL.len()],
    /// Those that hold nothing are not there.
    by_namespace: HashMap<Arc<str>, Held>,
}

/// Bytes that are held.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Held {
    total: usize,
    /// Of those, what is kept.
    kept: usize,
}

/// A namespace's part of the ledger.
#[derive(Debug, Clone)]
pub struct Account {
    ledger: Arc<Ledger>,
    namespace: Arc<str>,
}

/// What memory is for; the first come before the last where there is little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Answers to questions of polls.
    Asking,
    /// Records under way.
    Reading,
    /// What is kept until its trigger is forgotten.
    Keeping,
}

impl Use {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Asking, Self::Reading, Self::Keeping];

    /// Its name for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asking => "asking",
            Self::Reading => "reading",
            Self::Keeping => "keeping",
        }
    }
}

/// Memory that is taken, in bytes; given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    account: Account,
    of: Use,
    bytes: usize,
}

/// Why memory cannot be had now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "namespace {namespace} holds {} of memory, and all together {} of the {} that --memory-limit allows: too much for {} more",
    Bytes(*held), Bytes(*used), Bytes(*limit), Bytes(*wanted)
)]
pub struct Exhausted {
    /// Whose share it is.
    pub namespace: String,
    /// Bytes that it holds.
    pub held: usize,
    /// Bytes that all hold.
    pub used: usize,
    /// Bytes that all may hold.
    pub limit: usize,
    /// Bytes that were asked for.
    pub wanted: usize,
}

/// A number of bytes as people read it.
struct Bytes(usize);

/// Those who hold something that they share: whoever of them has room pays for it.
#[derive(Debug, Default)]
pub struct Payers(Mutex<Vec<(Account, usize)>>);

impl Ledger {
    /// A ledger of so many bytes.
    pub fn new(limit: usize) -> Arc<Ledger> {
        Arc::new(Ledger { limit, books: Mutex::default(), freed: Notify::new() })
    }

    /// The account of a namespace.
    pub fn account(self: &Arc<Self>, namespace: &str) -> Account {
        let known = lock(&self.books)
            .by_namespace
            .get_key_value(namespace)
            .map(|(name, _)| Arc::clone(name));
        Account { ledger: Arc::clone(self), namespace: known.unwrap_or_else(|| namespace.into()) }
    }

    /// Bytes that all may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that all hold.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        let books = lock(&self.books);
        assert_eq!(books.by_use.iter().sum::<usize>(), books.all.total);
        books.all.total
    }

    /// Bytes that all hold, by what they are for.
    pub fn by_use(&self) -> [(Use, usize); Use::ALL.len()] {
        let by_use = lock(&self.books).by_use;
        Use::ALL.map(|of| (of, by_use[of as usize]))
    }
}

impl Books {
    /// Puts down that a namespace holds so much more, if it may.
    fn take(&mut self, account: &Account, of: Use, bytes: usize) -> Result<(), Exhausted> {
        let Account { ledger, namespace } = account;
        let before = self.by_namespace.get(namespace).copied().unwrap_or_default();
        let (all, held) = (self.all.and(of, bytes), before.and(of, bytes));
        let is_share = match of {
            Use::Asking => held.total <= ledger.limit.saturating_sub(all.total),
            Use::Reading => held.total <= ledger.limit.saturating_sub(all.total) / 2,
            Use::Keeping => held.kept <= ledger.limit.saturating_sub(all.kept) / 3,
        };
        if !is_share || all.total > ledger.limit {
            let (held, used, limit) = (before.total, self.all.total, ledger.limit);
            let namespace = one_line(namespace, 63);
            return Err(Exhausted { namespace, held, used, limit, wanted: bytes });
        }
        self.all = all;
        self.by_use[of as usize] = self.by_use[of as usize].saturating_add(bytes);
        if held != Held::default() {
            self.by_namespace.insert(Arc::clone(namespace), held);
        }
        Ok(())
    }

    fn give_back(&mut self, namespace: &Arc<str>, of: Use, bytes: usize) {
        self.all = self.all.without(of, bytes);
        self.by_use[of as usize] = self.by_use[of as usize].saturating_sub(bytes);
        if let Some(held) = self.by_namespace.get_mut(namespace) {
            *held = held.without(of, bytes);
            if *held == Held::default() {
                self.by_namespace.remove(namespace);
            }
        }
    }
}

impl Held {
    fn and(self, of: Use, bytes: usize) -> Held {
        let kept = if of == Use::Keeping { bytes } else { 0 };
        Held { total: self.total.saturating_add(bytes), kept: self.kept.saturating_add(kept) }
    }

    fn without(self, of: Use, bytes: usize) -> Held {
        let kept = if of == Use::Keeping { bytes } else { 0 };
        Held { total: self.total.saturating_sub(bytes), kept: self.kept.saturating_sub(kept) }
    }
}

impl Account {
    /// Takes so many bytes.
    ///
    /// # Errors
    /// [`Exhausted`] where that would be more than the namespace's share.
    pub fn charge(&self, of: Use, bytes: usize) -> Result<Charge, Exhausted> {
        lock(&self.ledger.books).take(self, of, bytes)?;
        Ok(Charge { account: self.clone(), of, bytes })
    }

    fn is(&self, other: &Account) -> bool {
        self.namespace == other.namespace && Arc::ptr_eq(&self.ledger, &other.ledger)
    }
}

impl Charge {
    /// Who pays.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Takes more or gives back, so that it is so many bytes. Less can always be had.
    ///
    /// # Errors
    /// [`Exhausted`] where that would be more than the namespace's share; it stays what it was.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let Charge { account, of, bytes: now } = self;
        if bytes > *now {
            lock(&account.ledger.books).take(account, *of, bytes - *now)?;
        } else if bytes < *now {
            lock(&account.ledger.books).give_back(&account.namespace, *of, *now - bytes);
            account.ledger.freed.notify_waiters();
        }
        *now = bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // Giving back is never refused.
        let _given = self.resize(0);
    }
}

impl Payers {
    /// One more thing of this account shares what is paid for.
    pub fn join(&self, account: &Account) {
        let mut payers = lock(&self.0);
        match payers.iter_mut().find(|(payer, _)| payer.is(account)) {
            Some((_, count)) => *count += 1,
            None => payers.push((account.clone(), 1)),
        }
    }

    /// One does no more.
    pub fn leave(&self, account: &Account) {
        let mut payers = lock(&self.0);
        if let Some(at) = payers.iter().position(|(payer, _)| payer.is(account)) {
            payers[at].1 -= 1;
            if payers[at].1 == 0 {
                payers.remove(at);
            }
        }
    }

    /// Whether nobody shares it.
    pub fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    /// Whether somebody of this account shares it.
    pub fn include(&self, account: &Account) -> bool {
        lock(&self.0).iter().any(|(payer, _)| payer.is(account))
    }

    /// Takes so many bytes from the first who has room for them; `None` where nobody shares this
    /// any more.
    ///
    /// # Errors
    /// [`Exhausted`] where nobody has.
    pub fn charge(&self, of: Use, bytes: usize) -> Option<Result<Charge, Exhausted>> {
        let mut answer = None;
        for (payer, _) in &*lock(&self.0) {
            let charge = payer.charge(of, bytes);
            if charge.is_ok() {
                return Some(charge);
            }
            answer.get_or_insert(charge);
        }
        answer
    }

    /// The same once somebody has room. Waits for ever where nobody shares this.
    pub async fn charge_when_free(&self, of: Use, bytes: usize) -> Charge {
        loop {
            let Some(ledger) = lock(&self.0).first().map(|(payer, _)| Arc::clone(&payer.ledger))
            else {
                return std::future::pending().await;
            };
            // Before looking, so that nothing is missed that is given back meanwhile.
            let mut freed = std::pin::pin!(ledger.freed.notified());
            freed.as_mut().enable();
            if let Some(Ok(charge)) = self.charge(of, bytes) {
                return charge;
            }
            freed.await;
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(usize, &str); 2] = [(1024 * 1024, "MiB"), (1024, "KiB")];
        let Self(bytes) = *self;
        match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
            Some((unit, name)) => write!(f, "{} {name}", bytes.div_ceil(unit)),
            None => write!(f, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn room(account: &Account, of: Use) -> usize {
        (0..).find(|bytes| account.charge(of, bytes + 1).is_err()).expect("a limit")
    }

    #[test]
    fn a_namespace_may_hold_as_much_as_it_leaves_to_others() {
        let ledger = Ledger::new(1_200);
        let [a, b, c] = ["a", "b", "c"].map(|namespace| ledger.account(namespace));
        let rows = [(Use::Asking, 600), (Use::Reading, 400), (Use::Keeping, 300)];
        for (of, alone) in rows {
            assert_eq!(room(&a, of), alone, "{of:?}");
        }
        let kept = a.charge(Use::Keeping, 300).expect("a share");
        assert_eq!(room(&a, Use::Reading), 100, "what passes comes before what stays");
        let of_b = b.charge(Use::Asking, room(&b, Use::Asking)).expect("a share");
        assert_eq!((room(&a, Use::Asking), room(&c, Use::Asking)), (75, 225));
        drop((kept, of_b));
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn what_is_refused_says_who_holds_what_and_names_the_setting() {
        let account = Ledger::new(64 * 1024 * 1024).account("shop");
        let _held = account.charge(Use::Keeping, 10 * 1024 * 1024).expect("a share");
        let refused = account.charge(Use::Keeping, 7 * 1024 * 1024).expect_err("too much");
        assert_eq!(
            refused.to_string(),
            "namespace shop holds 10 MiB of memory, and all together 10 MiB of the 64 MiB that --memory-limit allows: too much for \
             7 MiB more"
        );
    }

    #[test]
    fn who_has_room_pays_for_what_is_shared() {
        let ledger = Ledger::new(1_200);
        let [poor, rich] = ["poor", "rich"].map(|namespace| ledger.account(namespace));
        let _debts = poor.charge(Use::Asking, 400).expect("a share");
        let payers = Payers::default();
        assert!(payers.charge(Use::Reading, 1).is_none(), "nobody shares it");
        payers.join(&poor);
        assert!(payers.charge(Use::Reading, 1).expect("a payer").is_err());
        payers.join(&rich);
        payers.join(&rich);
        payers.leave(&rich);
        let charge = payers.charge(Use::Reading, 200).expect("payers").expect("room");
        assert!(charge.account.is(&rich));
        payers.leave(&rich);
        payers.leave(&poor);
        assert!(payers.charge(Use::Reading, 1).is_none());
    }

    #[tokio::test]
    async fn who_waits_for_room_has_it_once_it_is_given_back() {
        let account = Ledger::new(1_200).account("a");
        let payers = Payers::default();
        payers.join(&account);
        let held = account.charge(Use::Reading, 400).expect("a share");
        let mut waiting = std::pin::pin!(payers.charge_when_free(Use::Reading, 100));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(held);
        assert_eq!(waiting.await.bytes, 100);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Charge(u8, u8, usize),
        Resize(usize, usize),
        Drop(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0_u8..4, 0_u8..3, 0_usize..2_000).prop_map(|(n, of, size)| Step::Charge(n, of, size)),
            2 => (any::<prop::sample::Index>(), 0_usize..2_000)
                .prop_map(|(at, size)| Step::Resize(at.index(1_000), size)),
            1 => any::<prop::sample::Index>().prop_map(|at| Step::Drop(at.index(1_000))),
        ]
    }

    proptest! {
        #[test]
        fn the_books_are_right_whatever_is_taken_and_given_back(steps in prop::collection::vec(step(), 1..60)) {
            let ledger = Ledger::new(3_000);
            let mut charges: Vec<Charge> = Vec::new();
            for step in steps {
                match step {
                    Step::Charge(namespace, of, bytes) => {
                        let of = [Use::Asking, Use::Reading, Use::Keeping][usize::from(of)];
                        let account = ledger.account(&namespace.to_string());
                        charges.extend(account.charge(of, bytes));
                    }
                    Step::Resize(at, bytes) if !charges.is_empty() => {
                        let at = at % charges.len();
                        let before = charges[at].bytes;
                        let resized = charges[at].resize(bytes);
                        prop_assert!(resized.is_ok() || bytes > before);
                    }
                    Step::Drop(at) if !charges.is_empty() => {
                        let at = at % charges.len();
                        drop(charges.swap_remove(at));
                    }
                    Step::Resize(..) | Step::Drop(_) => {}
                }
                let sum: usize = charges.iter().map(|charge| charge.bytes).sum();
                prop_assert_eq!(ledger.used(), sum);
                prop_assert!(sum <= ledger.limit());
                let kept = charges.iter().filter(|charge| charge.of == Use::Keeping);
                let kept: usize = kept.map(|charge| charge.bytes).sum();
                let books = lock(&ledger.books);
                prop_assert_eq!(books.all, Held { total: sum, kept });
                let of_all = books.by_namespace.values().fold(Held::default(), |all, held| Held {
                    total: all.total + held.total,
                    kept: all.kept + held.kept,
                });
                prop_assert_eq!(of_all, books.all);
            }
            drop(charges);
            prop_assert!(lock(&ledger.books).by_namespace.is_empty());
        }
    }
}
