//! The table: every operation of the document, what limits it and how it is written down.
//!
//! A test holds that every operation of the document has a rule here, so that no route that changes something can
//! be added without a word about its audit.

use std::{collections::HashMap, sync::LazyLock};

use axum::http::Method;
use wrenn_api::audit::{
    AuditAction::{self, *},
    AuditResource::{self, ApiKey, Host, Member, Sandbox, Snapshot, Team, User},
    AuditScope,
};

use super::record::What;
use crate::limits::RateClass::{self, Credential, Data, Lifecycle, Read};

/// How an operation is written down.
#[derive(Debug, Clone, Copy)]
pub(super) enum Written {
    /// Not; why.
    Not(&'static str),
    /// From the moment that the caller is proven, which an extractor says.
    Once(What),
    /// Before anything is known of the caller: the handler says who it was.
    Unproven(What),
}

impl Written {
    /// What is written down, if anything is.
    pub(super) const fn what(&self) -> Option<What> {
        match *self {
            Self::Not(_) => None,
            Self::Once(what) | Self::Unproven(what) => Some(what),
        }
    }
}

/// What governs an operation beside authority.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) rate: Option<RateClass>,
    pub(super) written: Written,
}

const TEAM: AuditScope = AuditScope::Team;
const ADMIN: AuditScope = AuditScope::Admin;

const READS: Written = Written::Not("it changes nothing");
const IN_SANDBOX: Written =
    Written::Not("what programs do in a sandbox is not written down one by one");
const SIGN_IN: Written =
    Written::Not("sessions come and go; what is refused is written down by itself");
const LIFE_SIGN: Written = Written::Not("a sign of life");

const fn rule(
    method: Method,
    path: &'static str,
    rate: Option<RateClass>,
    written: Written,
) -> Rule {
    Rule {
        method,
        path,
        rate,
        written,
    }
}

const fn open(path: &'static str) -> Rule {
    rule(Method::GET, path, None, READS)
}

const fn read(path: &'static str) -> Rule {
    rule(Method::GET, path, Some(Read), READS)
}

const fn data(method: Method, path: &'static str) -> Rule {
    rule(method, path, Some(Data), IN_SANDBOX)
}

const fn once(
    method: Method,
    path: &'static str,
    rate: Option<RateClass>,
    resource: AuditResource,
    action: AuditAction,
    scope: AuditScope,
) -> Rule {
    rule(method, path, rate, Written::Once((resource, action, scope)))
}

/// Of teams and the platform.
const fn change(
    method: Method,
    path: &'static str,
    resource: AuditResource,
    action: AuditAction,
    scope: AuditScope,
) -> Rule {
    once(method, path, None, resource, action, scope)
}

const fn life(method: Method, path: &'static str, action: AuditAction) -> Rule {
    once(method, path, Some(Lifecycle), Sandbox, action, TEAM)
}

const fn credential(path: &'static str, written: Written) -> Rule {
    rule(POST, path, Some(Credential), written)
}

const fn unproven(action: AuditAction) -> Written {
    Written::Unproven((AuditResource::User, action, ADMIN))
}

/// Of a person, by themselves.
const fn account(method: Method, path: &'static str, action: AuditAction) -> Rule {
    once(method, path, None, AuditResource::User, action, ADMIN)
}

const DELETE: Method = Method::DELETE;
const GET: Method = Method::GET;
const PATCH: Method = Method::PATCH;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;

pub(super) static TABLE: &[Rule] = &[
    open("/healthz"),
    open("/readyz"),
    open("/metrics"),
    open("/openapi.json"),
    open("/openapi.yaml"),
    open("/docs"),
    // Accounts.
    open("/v1/auth/config"),
    credential("/v1/auth/setup", unproven(Signup)),
    credential("/v1/auth/signup", unproven(Signup)),
    credential("/v1/auth/activate", unproven(Activate)),
    credential("/v1/auth/login", SIGN_IN),
    rule(POST, "/v1/auth/refresh", None, SIGN_IN),
    rule(POST, "/v1/auth/logout", None, SIGN_IN),
    rule(POST, "/v1/auth/logout-all", None, SIGN_IN),
    rule(POST, "/v1/auth/switch-team", None, SIGN_IN),
    credential("/v1/auth/device", SIGN_IN),
    // It is asked each 5 s, and its code cannot be guessed.
    rule(POST, "/v1/auth/device/token", None, SIGN_IN),
    read("/v1/auth/device/{user_code}"),
    rule(POST, "/v1/auth/device/{user_code}/approve", None, SIGN_IN),
    rule(POST, "/v1/auth/device/{user_code}/deny", None, SIGN_IN),
    rule(POST, "/v1/auth/cli/code", None, SIGN_IN),
    credential("/v1/auth/cli/exchange", SIGN_IN),
    open("/v1/auth/oauth/{provider}"),
    // What it makes or links, it writes down itself.
    open("/v1/auth/oauth/{provider}/callback"),
    credential("/v1/auth/oauth/exchange", SIGN_IN),
    read("/v1/me"),
    account(PATCH, "/v1/me", Update),
    account(DELETE, "/v1/me", Delete),
    account(POST, "/v1/me/password", PasswordChange),
    credential(
        "/v1/me/password/reset",
        Written::Not("it changes nothing but the mail of whoever is asked for"),
    ),
    credential("/v1/me/password/reset/confirm", unproven(PasswordReset)),
    read("/v1/me/sessions"),
    rule(DELETE, "/v1/me/sessions/{id}", None, SIGN_IN),
    read("/v1/me/providers/{provider}/connect"),
    account(DELETE, "/v1/me/providers/{provider}", ProviderUnlink),
    rule(GET, "/v1/users/search", Some(RateClass::Search), READS),
    // Sandboxes.
    read("/v1/sandboxes"),
    read("/v1/sandboxes/{id}"),
    life(POST, "/v1/sandboxes", Create),
    life(DELETE, "/v1/sandboxes/{id}", Destroy),
    life(POST, "/v1/sandboxes/{id}/pause", Pause),
    life(POST, "/v1/sandboxes/{id}/resume", Resume),
    life(POST, "/v1/sandboxes/{id}/fork", Fork),
    once(PATCH, "/v1/sandboxes/{id}", None, Sandbox, Update, TEAM),
    rule(POST, "/v1/sandboxes/{id}/ping", Some(Data), LIFE_SIGN),
    // What happens in them.
    data(POST, "/v1/sandboxes/{id}/exec"),
    once(
        GET,
        "/v1/sandboxes/{id}/exec/stream",
        Some(Data),
        Sandbox,
        ExecOpen,
        TEAM,
    ),
    data(GET, "/v1/sandboxes/{id}/processes"),
    data(DELETE, "/v1/sandboxes/{id}/processes/{process}"),
    data(POST, "/v1/sandboxes/{id}/files/write"),
    data(POST, "/v1/sandboxes/{id}/files/stream/write"),
    data(POST, "/v1/sandboxes/{id}/files/read"),
    data(POST, "/v1/sandboxes/{id}/files/stream/read"),
    // Snapshots.
    read("/v1/snapshots"),
    once(
        POST,
        "/v1/snapshots",
        Some(Lifecycle),
        Snapshot,
        Create,
        TEAM,
    ),
    once(
        DELETE,
        "/v1/snapshots/{name}",
        Some(Lifecycle),
        Snapshot,
        Delete,
        TEAM,
    ),
    // Teams.
    read("/v1/teams"),
    read("/v1/teams/{team_id}"),
    read("/v1/teams/{team_id}/members"),
    read("/v1/teams/{team_id}/quota"),
    change(POST, "/v1/teams", Team, Create, TEAM),
    change(PATCH, "/v1/teams/{team_id}", Team, Rename, TEAM),
    change(DELETE, "/v1/teams/{team_id}", Team, Delete, TEAM),
    change(POST, "/v1/teams/{team_id}/transfer", Team, Transfer, TEAM),
    change(POST, "/v1/teams/{team_id}/members", Member, Add, TEAM),
    change(POST, "/v1/teams/{team_id}/leave", Member, Leave, TEAM),
    change(
        PATCH,
        "/v1/teams/{team_id}/members/{user_id}",
        Member,
        RoleUpdate,
        TEAM,
    ),
    change(
        DELETE,
        "/v1/teams/{team_id}/members/{user_id}",
        Member,
        Remove,
        TEAM,
    ),
    // Keys.
    read("/v1/api-keys"),
    change(POST, "/v1/api-keys", ApiKey, Create, ADMIN),
    change(DELETE, "/v1/api-keys/{id}", ApiKey, Revoke, ADMIN),
    // The log itself.
    read("/v1/audit-logs"),
    read("/v1/admin/audit-logs"),
    // The platform.
    read("/v1/admin/teams"),
    read("/v1/admin/users"),
    read("/v1/admin/sandboxes"),
    read("/v1/admin/sandboxes/{id}"),
    life(POST, "/v1/admin/sandboxes", Create),
    // Not by the bucket of the team that has it, whose log it goes into.
    change(DELETE, "/v1/admin/sandboxes/{id}", Sandbox, Destroy, TEAM),
    once(
        POST,
        "/v1/admin/sandboxes/{id}/snapshot",
        Some(Lifecycle),
        Snapshot,
        Create,
        ADMIN,
    ),
    change(PUT, "/v1/admin/teams/{id}/byoc", Team, SetByoc, ADMIN),
    change(PUT, "/v1/admin/teams/{id}/quota", Team, SetQuota, ADMIN),
    change(DELETE, "/v1/admin/teams/{id}", Team, Delete, ADMIN),
    // Whether it lets in or shuts out is in the row's facts.
    change(PUT, "/v1/admin/users/{id}/active", User, Activate, ADMIN),
    change(PUT, "/v1/admin/users/{id}/admin", User, SetAdmin, ADMIN),
    change(
        PUT,
        "/v1/admin/users/{id}/permissions",
        User,
        SetPermissions,
        ADMIN,
    ),
    // Hosts.
    read("/v1/hosts"),
    read("/v1/hosts/{id}"),
    read("/v1/hosts/{id}/delete-preview"),
    read("/v1/hosts/{id}/tags"),
    change(POST, "/v1/hosts", Host, Add, ADMIN),
    change(POST, "/v1/hosts/{id}/token", Host, TokenIssued, ADMIN),
    // Whether it drains is in the row's facts.
    change(PATCH, "/v1/hosts/{id}", Host, Drain, ADMIN),
    change(DELETE, "/v1/hosts/{id}", Host, Delete, ADMIN),
    change(POST, "/v1/hosts/{id}/tags", Host, Update, ADMIN),
    change(DELETE, "/v1/hosts/{id}/tags/{tag}", Host, Update, ADMIN),
    rule(
        POST,
        "/v1/hosts/register",
        Some(Credential),
        Written::Unproven((Host, Registered, ADMIN)),
    ),
    rule(POST, "/v1/hosts/auth/refresh", Some(Credential), LIFE_SIGN),
    rule(
        POST,
        "/v1/hosts/{id}/heartbeat",
        Some(RateClass::Host),
        LIFE_SIGN,
    ),
];

/// The rule of an operation, by its path in the router. What is done to one of the platform's own sandboxes is
/// governed as it is for teams, where it has no rule of its own.
pub(super) fn find(method: &Method, path: &str) -> Option<&'static Rule> {
    static BY_PATH: LazyLock<HashMap<&'static str, Vec<&'static Rule>>> = LazyLock::new(|| {
        let mut by_path: HashMap<_, Vec<_>> = HashMap::new();
        for rule in TABLE {
            by_path.entry(rule.path).or_default().push(rule);
        }
        by_path
    });
    let at = |path: &str| {
        let rules = BY_PATH.get(path)?;
        rules.iter().find(|rule| rule.method == *method).copied()
    };
    at(path).or_else(|| {
        let of_one = path.strip_prefix("/v1/admin/sandboxes/")?;
        at(&format!("/v1/sandboxes/{of_one}"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_of_the_document_has_a_rule_and_every_rule_one() {
        let document = crate::http::openapi();
        let document: serde_json::Value =
            serde_json::from_str(&document.to_json().unwrap()).unwrap();
        let mut used = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let rule = find(&method, path);
                let rule = rule.unwrap_or_else(|| panic!("{method} {path} has no rule"));
                used.insert(format!("{} {}", rule.method, rule.path));
            }
        }
        let named: BTreeSet<_> = TABLE
            .iter()
            .map(|rule| format!("{} {}", rule.method, rule.path))
            .collect();
        let gone: Vec<_> = named.difference(&used).collect();
        assert!(gone.is_empty(), "rules of nothing: {gone:?}");
        assert_eq!(named.len(), TABLE.len(), "an operation has two rules");
    }

    #[test]
    fn what_reads_is_not_written_down_and_the_rest_says_why() {
        for rule in TABLE {
            if let Written::Not(why) = rule.written {
                let reads = rule.method == GET;
                assert_eq!(
                    why == "it changes nothing",
                    reads && rule.rate != Some(Data),
                    "{rule:?}"
                );
            }
        }
    }
}
