//! Settings of accounts: who may sign up, mail, and providers to sign in with.

use std::{convert::Infallible, str::FromStr};

use secrecy::SecretString;

use super::sources::Values;

/// Who may make an account without being asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignupPolicy {
    /// Anybody.
    Open,
    /// Nobody.
    Closed,
    /// People with an address in one of these domains.
    Domains(Vec<String>),
}

impl FromStr for SignupPolicy {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "open" => Self::Open,
            "closed" => Self::Closed,
            list => Self::Domains(
                list.split(',')
                    .map(|domain| domain.trim().to_lowercase())
                    .collect(),
            ),
        })
    }
}

/// How mail is sent.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// As smtp://user:password@host:port, or smtps://.
    pub url: SecretString,
    /// Who it comes from.
    pub from: String,
}

/// The application at GitHub.
#[derive(Debug, Clone)]
pub struct GithubSettings {
    /// GitHub, or an enterprise's own.
    pub base_url: String,
    /// Public half of its credential.
    pub client_id: String,
    /// The other half.
    pub client_secret: SecretString,
}

/// Settings of accounts.
#[derive(Debug, Clone)]
pub struct PeopleSettings {
    /// Who may sign up.
    pub signup: SignupPolicy,
    /// Opens the way to the first administrator.
    pub setup_token: Option<SecretString>,
    /// Absent: no mail is sent, and none is waited for.
    pub mail: Option<MailSettings>,
    /// Absent: nobody signs in by GitHub.
    pub github: Option<GithubSettings>,
}

/// Faults are noted; `None` only where a default is missing.
pub(super) fn people(values: &mut Values) -> Option<PeopleSettings> {
    let signup = signup(values)?;
    let mail = mail(values);
    let github = github(values);
    if (mail.is_some() || github.is_some()) && values.get("CP_PUBLIC_URL").is_none() {
        values.fault("CP_PUBLIC_URL", "must be set where mail or OAuth are");
    }
    Some(PeopleSettings {
        signup,
        setup_token: values.get("WRENN_SETUP_TOKEN").map(SecretString::from),
        mail,
        github,
    })
}

fn signup(values: &mut Values) -> Option<SignupPolicy> {
    let text = values.get("WRENN_SIGNUP")?;
    let Ok(policy) = text.parse::<SignupPolicy>();
    if let SignupPolicy::Domains(domains) = &policy
        && !domains.iter().all(|domain| {
            domain.contains('.') && !domain.contains(['@', ' ', '/']) && !domain.starts_with('.')
        })
    {
        values.fault(
            "WRENN_SIGNUP",
            "must be open, closed, or domains such as example.com, separated by commas",
        );
    }
    Some(policy)
}

fn mail(values: &mut Values) -> Option<MailSettings> {
    let url = values.get("WRENN_SMTP_URL").map(str::to_owned);
    let from = values.get("WRENN_MAIL_FROM").map(str::to_owned);
    let (Some(url), Some(from)) = (&url, &from) else {
        if url.is_some() || from.is_some() {
            let missing = if url.is_some() {
                "WRENN_MAIL_FROM"
            } else {
                "WRENN_SMTP_URL"
            };
            values.fault(missing, "must be set too, to send mail");
        }
        return None;
    };
    if crate::mail::check_url(url).is_err() {
        let problem =
            "must be a URL such as smtp://user:password@host:587?tls=required or smtps://…";
        values.fault("WRENN_SMTP_URL", problem);
        return None;
    }
    if crate::mail::check_sender(from).is_err() {
        let problem = "must be an address such as Wrenn <wrenn@example.com>";
        values.fault("WRENN_MAIL_FROM", problem);
        return None;
    }
    Some(MailSettings {
        url: url.clone().into(),
        from: from.clone(),
    })
}

fn github(values: &mut Values) -> Option<GithubSettings> {
    let base_url = values.get("WRENN_OAUTH_GITHUB_BASE_URL")?;
    let base_url = base_url.trim_end_matches('/').to_owned();
    if !base_url.starts_with("https://") && !base_url.starts_with("http://") {
        values.fault("WRENN_OAUTH_GITHUB_BASE_URL", "must be a URL");
    }
    let client_id = values.get("OAUTH_GITHUB_CLIENT_ID").map(str::to_owned);
    let client_secret = values
        .get("OAUTH_GITHUB_CLIENT_SECRET")
        .map(SecretString::from);
    match (client_id, client_secret) {
        (Some(client_id), Some(client_secret)) => Some(GithubSettings {
            base_url,
            client_id,
            client_secret,
        }),
        (None, None) => None,
        (id, _) => {
            let missing = match id {
                Some(_) => "OAUTH_GITHUB_CLIENT_SECRET",
                None => "OAUTH_GITHUB_CLIENT_ID",
            };
            values.fault(missing, "must be set too, to sign in by GitHub");
            None
        }
    }
}
