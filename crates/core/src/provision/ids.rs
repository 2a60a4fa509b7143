//! Numbers of a guest's user, from `/etc/passwd` and `/etc/group` (`passwd(5)`, `group(5)`).

use crate::model::UserName;

/// First number of users that are not of the system, in all supported guests.
const FIRST: u32 = 1000;

/// User and group ID of a user: as listed, or as `set_up_user.sh` will choose them.
pub(super) fn expected(users: &str, groups: &str, user: &UserName) -> (u32, u32) {
    // Of a group the second number is missing.
    let numbers = |text: &str| {
        let line = text.lines().find_map(|line| {
            let (name, rest) = line.split_once(':')?;
            (name == user.as_str()).then_some(rest.to_owned())
        })?;
        let mut fields = line
            .split(':')
            .skip(1)
            .map(|field| field.parse::<u32>().ok());
        Some((fields.next()??, fields.next().flatten()))
    };
    if let Some((uid, Some(gid))) = numbers(users) {
        return (uid, gid);
    }
    let is_free = |id: &u32| {
        let id = id.to_string();
        let mut lines = users.lines().chain(groups.lines());
        !lines.any(|line| line.split(':').nth(2) == Some(&id))
    };
    let uid = (FIRST..).find(is_free).unwrap_or(FIRST);
    (uid, numbers(groups).map_or(uid, |(gid, _)| gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_user_keeps_its_numbers_and_a_new_one_gets_the_first_free_ones() {
        let users = "root:x:0:0::/root:/bin/sh\nubuntu:x:1000:1001::/home/ubuntu:/bin/sh\nbroken\n";
        let groups = "root:x:0:\nubuntu:x:1001:\nusers:x:100:\n";
        for (user, expected_ids) in [
            ("root", (0, 0)),
            ("ubuntu", (1000, 1001)),
            ("dev", (1002, 1002)),
            ("users", (1002, 100)),
        ] {
            let user = user.parse().unwrap();
            assert_eq!(expected(users, groups, &user), expected_ids, "{user}");
        }
        assert_eq!(expected("", "", &"dev".parse().unwrap()), (1000, 1000));
    }
}
