//! What people may be allowed: roles in a team and permissions over the platform.

closed_set! {
    /// Role of a person in a team, weakest first: the order is that of their rights.
    pub enum Role {
        /// Everything with sandboxes, and their own keys.
        Member = "member",
        /// Also the team's name, members, hosts and channels.
        Admin = "admin",
        /// Also its deletion and its transfer; exactly one in a live team.
        Owner = "owner",
    }
}

closed_set! {
    /// A part of the platform that a person administers.
    pub enum Permission {
        /// Hosts.
        Hosts = "hosts",
        /// Platform templates and builds.
        Templates = "templates",
        /// Teams, their quotas and their sandboxes.
        Teams = "teams",
        /// People.
        Users = "users",
        /// The audit log of all teams.
        Audit = "audit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greater_role_may_more() {
        assert!(Role::Owner > Role::Admin && Role::Admin > Role::Member);
    }
}
