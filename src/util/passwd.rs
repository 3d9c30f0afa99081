//! Users as `/etc/passwd` has them.

/// Whoever a program runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// As the file has it; nothing for a number that it does not know.
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
}

impl Account {
    /// Finds a user as an image names it: nothing, a name or a number, and perhaps `:` and the number of a group.
    pub fn find(text: &str, passwd: &str) -> Option<Self> {
        let (name, group) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
        let name = if name.is_empty() { "root" } else { name };
        let line = passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [known, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
            (*known == name || *uid == name).then_some(())?;
            Some(Account {
                name: (*known).to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: (*home).to_owned(),
            })
        });
        let none = Account { name: String::new(), uid: 0, gid: 0, home: "/".to_owned() };
        let mut user = match (line, name.parse()) {
            (Some(user), _) => user,
            (None, Ok(uid)) => Account { uid, ..none },
            (None, Err(_)) if name == "root" => Account { home: "/root".to_owned(), ..none },
            (None, Err(_)) => return None,
        };
        if let Some(group) = group {
            user.gid = group.parse().ok()?;
        }
        Some(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_as_images_name_them() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbad\napp:x:100:101::/opt/app:/bin/sh\n";
        let user = |name: &str, uid, gid, home: &str| {
            Some(Account { name: name.to_owned(), uid, gid, home: home.to_owned() })
        };
        assert_eq!(Account::find("", passwd), user("root", 0, 0, "/root"));
        assert_eq!(Account::find("app", passwd), user("app", 100, 101, "/opt/app"));
        assert_eq!(Account::find("100:7", passwd), user("app", 100, 7, "/opt/app"));
        assert_eq!(Account::find("4242", passwd), user("", 4242, 0, "/"));
        assert_eq!(Account::find("", ""), user("", 0, 0, "/root"));
        assert_eq!(Account::find("nobody", passwd), None);
        assert_eq!(Account::find("app:staff", passwd), None);
    }
}
