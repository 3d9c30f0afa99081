//! What one session may still send to hosts and receive from them.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::policy::host::{Budget, Host, HostName};

/// A budget and what was spent of it.
#[derive(Debug)]
pub struct Account {
    budget: Budget,
    up: AtomicU64,
    down: AtomicU64,
    open: AtomicU64,
}

/// Opens an account for each budget.
pub fn accounts(budgets: Vec<Budget>) -> Vec<Arc<Account>> {
    let account = |budget| {
        let (up, down, open) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Account { budget, up, down, open })
    };
    budgets.into_iter().map(account).collect()
}

/// What one connection is charged to; given back with the connection.
#[derive(Debug, Default)]
pub struct Charge(Vec<Arc<Account>>);

/// Why a connection is not made, and the line that says so.
pub struct UsedUp {
    pub why: String,
    pub origin: String,
}

impl Charge {
    /// Charges a connection to every budget that is about its host.
    pub fn to(accounts: &[Arc<Account>], name: Option<&HostName>, address: IpAddr) -> Result<Self, UsedUp> {
        let hosts = [name.map(Host::Name), Some(Host::Address(address))];
        let about =
            |account: &&Arc<Account>| hosts.iter().flatten().any(|host| account.budget.is_about(host));
        let mut charge = Charge::default();
        for account in accounts.iter().filter(about) {
            let Budget { up, down, connections, pattern, origin, .. } = &account.budget;
            let refused = |why: String| UsedUp { why, origin: origin.clone() };
            let spent = |count: &AtomicU64, most: &Option<u64>| {
                most.is_some_and(|most| count.load(Ordering::Relaxed) >= most)
            };
            if spent(&account.up, up) || spent(&account.down, down) {
                return Err(refused(format!("the `bytes` of `{pattern}` are used up")));
            }
            let before = account.open.fetch_add(1, Ordering::Relaxed);
            charge.0.push(Arc::clone(account));
            if connections.is_some_and(|most| before >= most) {
                return Err(refused(format!(
                    "there are as many connections to `{pattern}` as `connections` allows"
                )));
            }
        }
        Ok(charge)
    }

    /// Returns how many bytes of so many may be sent now.
    pub fn may_send(&self, length: usize) -> io::Result<usize> {
        self.most(length, |account| (account.budget.up, &account.up))
    }

    /// Returns how many bytes of so many may be received now.
    pub fn may_receive(&self, length: usize) -> io::Result<usize> {
        self.most(length, |account| (account.budget.down, &account.down))
    }

    fn most(&self, length: usize, of: impl Fn(&Account) -> (Option<u64>, &AtomicU64)) -> io::Result<usize> {
        let left = self.0.iter().filter_map(|account| {
            let (most, spent) = of(account);
            Some((most?.saturating_sub(spent.load(Ordering::Relaxed)), account))
        });
        match left.min_by_key(|(left, _)| *left) {
            Some((0, account)) if length > 0 => {
                let why = format!("the `bytes` of `{}` are used up", account.budget.pattern);
                Err(io::Error::new(io::ErrorKind::QuotaExceeded, why))
            }
            Some((left, _)) => Ok(usize::try_from(left).unwrap_or(usize::MAX).min(length)),
            None => Ok(length),
        }
    }

    pub fn sent(&self, length: usize) {
        for account in &self.0 {
            account.up.fetch_add(length as u64, Ordering::Relaxed);
        }
    }

    pub fn received(&self, length: usize) {
        for account in &self.0 {
            account.down.fetch_add(length as u64, Ordering::Relaxed);
        }
    }

    /// Returns how long a connection may be silent, if a budget says so.
    pub fn idle(&self) -> Option<Duration> {
        self.0.iter().filter_map(|account| account.budget.idle).min().map(Duration::from_secs)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        for account in &self.0 {
            account.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::host::Pattern;

    #[test]
    fn what_is_spent_is_spent_for_all_connections() {
        let budget = |pattern: &str, up, connections| Budget {
            pattern: Pattern::parse(pattern).unwrap(),
            up,
            down: None,
            connections,
            idle: None,
            origin: "pier.kdl:1".into(),
        };
        let accounts =
            accounts(vec![budget("a.example", Some(100), Some(2)), budget("10.0.0.0/8", Some(10), None)]);
        let name = HostName::parse("a.example").unwrap();
        let address = "93.184.216.34".parse().unwrap();
        let one = Charge::to(&accounts, Some(&name), address).unwrap_or_else(|_| panic!());
        let two = Charge::to(&accounts, Some(&name), address).unwrap_or_else(|_| panic!());
        assert!(Charge::to(&accounts, Some(&name), address).is_err());
        drop(two);
        let two = Charge::to(&accounts, Some(&name), address).unwrap_or_else(|_| panic!());
        assert_eq!(one.may_send(60).unwrap(), 60);
        one.sent(60);
        assert_eq!(two.may_send(60).unwrap(), 40);
        two.sent(40);
        assert!(one.may_send(1).is_err() && two.may_send(1).is_err());
        assert_eq!((one.may_send(0).unwrap(), one.may_receive(7).unwrap()), (0, 7));
        drop((one, two));
        assert!(Charge::to(&accounts, Some(&name), address).is_err());
        // Where a name leads counts as well.
        let other = HostName::parse("b.example").unwrap();
        let charge =
            Charge::to(&accounts, Some(&other), "10.1.2.3".parse().unwrap()).unwrap_or_else(|_| panic!());
        assert_eq!(charge.may_send(60).unwrap(), 10);
    }
}
