//! The audit log: who did what to which thing, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wrenn_ids::AuditId;

use crate::Time;

closed_set! {
    /// What kind of thing an audit row is about.
    pub enum AuditResource {
        /// A sandbox.
        Sandbox = "sandbox",
        /// A snapshot.
        Snapshot = "snapshot",
        /// A template build.
        Build = "build",
        /// A team.
        Team = "team",
        /// A person in a team.
        Member = "member",
        /// An API key.
        ApiKey = "api_key",
        /// A notification channel.
        Channel = "channel",
        /// A host.
        Host = "host",
        /// An account.
        User = "user",
        /// The installation itself.
        Platform = "platform",
    }
}

closed_set! {
    /// What was done to it.
    pub enum AuditAction {
        /// It was made.
        Create = "create",
        /// A sandbox was put to sleep.
        Pause = "pause",
        /// A sandbox was woken.
        Resume = "resume",
        /// A sandbox was destroyed.
        Destroy = "destroy",
        /// A sandbox's host put it to sleep by itself.
        AutoPause = "auto_pause",
        /// A sandbox was woken by use.
        AutoResume = "auto_resume",
        /// Others were made from a sandbox as it was.
        Fork = "fork",
        /// A program was begun over a socket.
        ExecOpen = "exec_open",
        /// A terminal was opened.
        PtyOpen = "pty_open",
        /// Settings were changed.
        Update = "update",
        /// A sandbox's host cannot be asked about it.
        Missing = "missing",
        /// A missing sandbox is back.
        Restored = "restored",
        /// A sandbox ended by itself.
        Stopped = "stopped",
        /// It was deleted.
        Delete = "delete",
        /// A build was cancelled.
        Cancel = "cancel",
        /// A build succeeded.
        Succeed = "succeed",
        /// A build failed.
        Fail = "fail",
        /// A team was renamed.
        Rename = "rename",
        /// A team has another owner.
        Transfer = "transfer",
        /// A team may or may not bring hosts.
        SetByoc = "set_byoc",
        /// A team's quota was changed.
        SetQuota = "set_quota",
        /// It was added.
        Add = "add",
        /// A member was removed.
        Remove = "remove",
        /// A member left.
        Leave = "leave",
        /// A member's role was changed.
        RoleUpdate = "role_update",
        /// A credential was revoked.
        Revoke = "revoke",
        /// A channel's secrets were replaced.
        Rotate = "rotate",
        /// A channel was tried.
        Test = "test",
        /// A host registered.
        Registered = "registered",
        /// A host takes no new sandboxes.
        Drain = "drain",
        /// A one-time token was issued.
        TokenIssued = "token_issued",
        /// A host gives no sign of life.
        MarkedDown = "marked_down",
        /// A host is back.
        MarkedUp = "marked_up",
        /// A spent credential was presented.
        CredentialReuse = "credential_reuse",
        /// An account was made by its owner.
        Signup = "signup",
        /// A login was refused.
        LoginFailed = "login_failed",
        /// A password was changed.
        PasswordChange = "password_change",
        /// A password was set by mail.
        PasswordReset = "password_reset",
        /// A login provider was linked.
        ProviderLink = "provider_link",
        /// A login provider was unlinked.
        ProviderUnlink = "provider_unlink",
        /// An account may be used again.
        Activate = "activate",
        /// An account may not be used any more.
        Deactivate = "deactivate",
        /// An administrator's rights were changed.
        SetAdmin = "set_admin",
        /// Rights to administer a part were changed.
        SetPermissions = "set_permissions",
        /// All data was copied into a file.
        Backup = "backup",
        /// All data was replaced by that of a file.
        Restore = "restore",
        /// Sealed values were sealed with the newest key.
        Reseal = "reseal",
        /// What has served its time was removed.
        Collect = "collect",
    }
}

closed_set! {
    /// Who may read an audit row.
    pub enum AuditScope {
        /// Every member of the team.
        Team = "team",
        /// Its administrators and owner.
        Admin = "admin",
    }
}

closed_set! {
    /// What came of it.
    pub enum AuditStatus {
        /// It was done.
        Success = "success",
        /// It began; there is no outcome, or not yet.
        Info = "info",
        /// It ended in an unknown or unusual way.
        Warning = "warning",
        /// It failed or was refused.
        Error = "error",
    }
}

closed_set! {
    /// Who acted.
    pub enum AuditActor {
        /// A person.
        User = "user",
        /// A program with a key.
        ApiKey = "api_key",
        /// A host.
        Host = "host",
        /// The platform itself.
        System = "system",
    }
}

/// One row of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditItem {
    /// Identity.
    #[schema(value_type = String, pattern = "^log-[0-9a-z]{25}$")]
    pub id: AuditId,
    /// Who acted.
    pub actor_type: AuditActor,
    /// Their id; absent when it was never known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub actor_id: Option<String>,
    /// What they were called then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub actor_name: Option<String>,
    /// The kind of thing.
    pub resource_type: AuditResource,
    /// Which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub resource_id: Option<String>,
    /// What was done to it.
    pub action: AuditAction,
    /// Who may read this.
    pub scope: AuditScope,
    /// What came of it.
    pub status: AuditStatus,
    /// Facts: phase (`started`, `completed`, `unknown`), HTTP status, and what the action names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// When it began.
    pub created_at: Time,
}

/// Rows of the audit log, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// The rows.
    pub items: Vec<AuditItem>,
    /// `before` of the next page, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_before: Option<Time>,
    /// `before_id` of the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub next_before_id: Option<AuditId>,
}
