//! Accounts: sign-up, login, sessions, and what people change about themselves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wrenn_ids::{SessionId, TeamId, UserId};

use crate::{Permission, Time, grammar, grammar::Invalid};

/// A proof of who somebody is, to be shown on later requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuthResponse {
    /// User token, for `Authorization: Bearer`.
    pub token: String,
    /// Who.
    #[schema(value_type = String, pattern = "^usr-[0-9a-z]{25}$")]
    pub user_id: UserId,
    /// The team that the token acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub team_id: Option<TeamId>,
    /// Address.
    pub email: String,
    /// What people call them.
    pub name: String,
    /// Renews the token; for command lines only, browsers hold it in a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub refresh_token: Option<String>,
    /// Whether the account was made just now, where that is not known before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub new_user: Option<bool>,
}

/// A new account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Signup {
    /// Address; compared without regard to case.
    #[schema(max_length = 254)]
    pub email: String,
    /// 8 to 1024 bytes.
    #[schema(min_length = 8, max_length = 1024)]
    pub password: String,
    /// What people call them.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
}

impl Signup {
    /// Checks every field by its grammar.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        grammar::email("email", &self.email)?;
        grammar::password("password", &self.password)?;
        grammar::display_name("name", &self.name)
    }
}

/// An account that waits for the link in a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// What to do next.
    pub message: String,
}

/// Answer to a sign-up: signed in, or a mail is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SignedUp {
    /// The account is active.
    Active(AuthResponse),
    /// It waits for its activation.
    Waiting(Message),
}

/// The first administrator.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Setup {
    /// Value of `WRENN_SETUP_TOKEN`.
    pub setup_token: String,
    /// The account.
    #[serde(flatten)]
    pub account: Signup,
}

/// A one-time token from a mail.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OneTimeToken {
    /// The token.
    pub token: String,
}

/// Address and password.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Login {
    /// Address.
    pub email: String,
    /// Password.
    pub password: String,
}

/// The refresh token of a command line; browsers send a cookie instead.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Refresh {
    /// The token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub refresh_token: Option<String>,
}

closed_set! {
    /// What holds a session.
    pub enum SessionKind {
        /// The dashboard.
        Browser = "browser",
        /// A command line.
        Cli = "cli",
    }
}

/// A place where somebody is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Identity.
    #[schema(value_type = String, pattern = "^ses-[0-9a-z]{25}$")]
    pub id: SessionId,
    /// What holds it.
    pub kind: SessionKind,
    /// What the client calls itself.
    pub client: String,
    /// Where it signed in from.
    pub ip: String,
    /// When it signed in.
    pub created_at: Time,
    /// When its token was last renewed.
    pub last_used_at: Time,
    /// Whether the request that asks belongs to it.
    pub current: bool,
}

/// The team that later requests act for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SwitchTeam {
    /// A team of the caller.
    #[schema(value_type = String)]
    pub team_id: TeamId,
}

/// The caller's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// Identity.
    #[schema(value_type = String, pattern = "^usr-[0-9a-z]{25}$")]
    pub id: UserId,
    /// What people call them.
    pub name: String,
    /// Address.
    pub email: String,
    /// Whether they can sign in with a password.
    pub has_password: bool,
    /// Whether they administer the whole platform.
    pub is_admin: bool,
    /// The parts of the platform that they administer.
    pub permissions: Vec<Permission>,
    /// OAuth providers that they can sign in with.
    pub providers: Vec<String>,
}

/// What people may change about themselves.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpdateMe {
    /// What people call them.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
}

/// The end of an account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeleteMe {
    /// The account's own address.
    pub confirmation: String,
}

/// Another password, or a first one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangePassword {
    /// The password until now; absent on an account without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub current_password: Option<String>,
    /// The password from now on.
    #[schema(min_length = 8, max_length = 1024)]
    pub new_password: String,
    /// The same again; needed where there is no password yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub confirm_password: Option<String>,
}

/// Somebody forgot a password.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ResetPassword {
    /// Address.
    pub email: String,
}

/// A password by the link of a mail.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConfirmReset {
    /// The one-time token of the link.
    pub token: String,
    /// The password from now on.
    #[schema(min_length = 8, max_length = 1024)]
    pub new_password: String,
}

/// A person that others may look up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FoundUser {
    /// Identity.
    #[schema(value_type = String, pattern = "^usr-[0-9a-z]{25}$")]
    pub user_id: UserId,
    /// Address.
    pub email: String,
    /// What people call them.
    pub name: String,
}

/// What a sign-in page needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuthConfig {
    /// Version of the server.
    pub version: String,
    /// Whether people may sign up by themselves.
    pub signup_enabled: bool,
    /// Whether the server sends mail.
    pub email_enabled: bool,
    /// OAuth providers.
    pub oauth_providers: Vec<String>,
    /// Whether the first administrator is still to be made here.
    pub setup_required: bool,
    /// Domain in sandbox URLs.
    pub sandbox_domain: String,
}

/// A command line that asks to be let in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StartDevice {
    /// What it calls itself.
    #[schema(min_length = 1, max_length = 100)]
    pub client_name: String,
}

/// What it shows, and what it asks with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceCodes {
    /// For the command line itself.
    pub device_code: String,
    /// For the person, to enter in the browser.
    #[schema(pattern = "^[B-DF-HJ-NP-TV-Z]{4}-[B-DF-HJ-NP-TV-Z]{4}$")]
    pub user_code: String,
    /// Where to enter it.
    pub verification_url: String,
    /// Seconds between two questions.
    pub interval: u32,
    /// Seconds until the codes are void.
    pub expires_in: u32,
}

/// A command line that waits for its person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingDevice {
    /// What it calls itself.
    pub client_name: String,
    /// Where it asks from.
    pub ip: String,
    /// Since when.
    pub created_at: Time,
}

/// The team that an approved command line acts for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ApproveDevice {
    /// A team of the caller; absent: the caller's token's team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub team_id: Option<TeamId>,
}

/// The command line asks whether it was let in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceCode {
    /// As it was given.
    pub device_code: String,
}

/// Nobody has decided yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DevicePending {
    /// Always `pending`.
    pub status: String,
}

/// A browser hands its person on to a command line.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CliCodeRequest {
    /// base64url of the SHA-256 of the verifier, without padding.
    pub code_challenge: String,
    /// Where the command line listens: 127.0.0.1 or [::1].
    pub redirect_uri: String,
}

/// A code that is good once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OneTimeCode {
    /// The code.
    pub code: String,
}

/// The command line takes its person over.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CliExchange {
    /// The code.
    pub code: String,
    /// What the challenge was made from.
    pub code_verifier: String,
}

/// Where to go to connect an account of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectUrl {
    /// The provider's page.
    pub auth_url: String,
}
