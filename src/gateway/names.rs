//! Which name stands behind which address of the sandbox's own network.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::host::{HostName, Pattern, Rule};

/// The most names of one session.
const MOST: u32 = 16 * 1024;

/// The first address: of the range for benchmarks (RFC 2544), which no public host has.
const FIRST: u32 = Ipv4Addr::new(198, 18, 1, 0).to_bits();

/// The range of version 6, unique local: `fd70:6965:7200::/96`.
const PREFIX: u128 = 0xfd70_6965_7200 << 80;

#[derive(Default)]
pub struct Names {
    numbers: HashMap<HostName, u32>,
    names: Vec<HostName>,
}

impl Names {
    /// What is allowed by name has its addresses from the start, however many other names are asked for.
    pub fn of(rules: &[Rule]) -> Self {
        let mut names = Names::default();
        for rule in rules.iter().filter(|rule| rule.allow) {
            if let Pattern::Name(name) = &rule.pattern {
                names.addresses(name);
            }
        }
        names
    }

    /// Returns the addresses of a name, always the same ones; `None` when there are too many names.
    pub fn addresses(&mut self, name: &HostName) -> Option<(Ipv4Addr, Ipv6Addr)> {
        let number = if let Some(number) = self.numbers.get(name) {
            *number
        } else {
            let number = u32::try_from(self.names.len()).ok().filter(|number| *number < MOST)?;
            self.numbers.insert(name.clone(), number);
            self.names.push(name.clone());
            number
        };
        Some((Ipv4Addr::from_bits(FIRST + number), Ipv6Addr::from_bits(PREFIX | u128::from(number))))
    }

    /// Returns the name that was given this address; `None` for one that somebody has chosen.
    pub fn name_of(&self, address: IpAddr) -> Option<&HostName> {
        let number = match address.to_canonical() {
            IpAddr::V4(address) => address.to_bits().checked_sub(FIRST)?,
            IpAddr::V6(address) => u32::try_from(address.to_bits().checked_sub(PREFIX)?).ok()?,
        };
        self.names.get(usize::try_from(number).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_an_end_and_those_that_are_allowed_come_first() {
        let rule = Rule::allow(Pattern::parse("allowed.example").unwrap(), String::new());
        let mut names = Names::of(&[rule]);
        for number in 1..MOST {
            let name = HostName::parse(&format!("n{number}.example")).unwrap();
            let (v4, v6) = names.addresses(&name).unwrap();
            assert_eq!(names.name_of(v4.into()), Some(&name));
            assert_eq!(names.name_of(v6.into()), Some(&name));
        }
        assert_eq!(names.addresses(&HostName::parse("one.more").unwrap()), None);
        assert!(names.addresses(&HostName::parse("allowed.example").unwrap()).is_some());
        for text in ["198.18.0.255", "198.18.65.0", "8.8.8.8", "::1", "fd70:6965:7200::ffff:0"] {
            assert_eq!(names.name_of(text.parse().unwrap()), None, "{text}");
        }
    }
}
