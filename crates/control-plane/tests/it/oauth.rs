//! Signing in by GitHub, against a stub that speaks its token, user and e-mail endpoints.

use std::collections::HashMap;

use reqwest::Method;
use serde_json::{Value, json};
use wrenn_testkit::{
    client::{Answer, Client},
    control_plane::{Options, Replica, World},
    github_stub::{GithubStub, GithubUser},
    person::Person,
    smtp_sink::SmtpSink,
};

const PUBLIC: &str = "https://wrenn.example.com";

struct Oauth {
    world: World,
    replica: Replica,
    github: GithubStub,
}

async fn start(more: &[(&'static str, &str)]) -> Oauth {
    let (world, github) = (
        World::new().await.unwrap(),
        GithubStub::start().await.unwrap(),
    );
    let mut settings = github.settings();
    settings.push(("CP_PUBLIC_URL", PUBLIC.to_owned()));
    settings.extend(
        more.iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    let options = Options {
        settings,
        ..Options::default()
    };
    let replica = world.replica(options).unwrap();
    Oauth {
        world,
        replica,
        github,
    }
}

/// A browser: it holds cookies.
struct Browser {
    client: Client,
    cookies: HashMap<String, String>,
}

impl Browser {
    fn new(oauth: &Oauth) -> Self {
        Self {
            client: Client::new(oauth.replica.base_url(), None),
            cookies: HashMap::new(),
        }
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let cookies = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        let mut request = self.client.request(method, path).header("cookie", cookies);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = self.client.send(request).await;
        self.take(&answer);
        answer
    }

    fn take(&mut self, answer: &Answer) {
        for set in answer.headers.get_all("set-cookie") {
            let set = set.to_str().unwrap();
            assert!(
                set.contains("HttpOnly") && set.contains("; Secure"),
                "{set}"
            );
            let (name, rest) = set.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Goes to GitHub's page; answers its address.
    async fn depart(&mut self) -> String {
        let answer = self
            .send(Method::GET, "/auth/oauth/github?intent=signup", None)
            .await;
        assert_eq!(answer.status, 302, "{answer:?}");
        let set = answer.header("set-cookie");
        assert!(
            set.contains("SameSite=Lax") && set.contains("Max-Age=600"),
            "{set}"
        );
        answer.header("location").to_owned()
    }

    /// Comes back from it; answers the fragment of the dashboard's page.
    async fn come_back(&mut self, query: &str) -> String {
        let path = format!("/v1/auth/oauth/github/callback?{query}");
        let answer = self.send(Method::GET, &path, None).await;
        assert_eq!(answer.status, 302, "{answer:?}");
        let page = format!("{PUBLIC}/auth/github/callback#");
        let fragment = answer.header("location").strip_prefix(&page);
        fragment.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    async fn exchange(&mut self, fragment: &str) -> Answer {
        let code = fragment
            .strip_prefix("code=")
            .unwrap_or_else(|| panic!("{fragment}"));
        self.send(
            Method::POST,
            "/v1/auth/oauth/exchange",
            Some(json!({ "code": code })),
        )
        .await
    }

    async fn sign_in(&mut self, oauth: &Oauth, user: &GithubUser) -> Answer {
        let page = self.depart().await;
        let (code, state) = oauth.github.agree(&page, user).unwrap();
        let fragment = self.come_back(&format!("code={code}&state={state}")).await;
        self.exchange(&fragment).await
    }
}

#[tokio::test]
async fn somebody_new_gets_an_account_and_finds_it_again() {
    let oauth = start(&[]).await;
    let config = Browser::new(&oauth).client.get("/v1/auth/config").await;
    assert_eq!(config.json["oauth_providers"], json!(["github"]));
    let octo = GithubUser::new(1, "octo", "Octo@example.com");
    let first = Browser::new(&oauth).sign_in(&oauth, &octo).await;
    assert_eq!(
        (first.status, &first.json["new_user"]),
        (200, &json!(true)),
        "{first:?}"
    );
    let token = first.json["token"].as_str().unwrap();
    let client = Client::with_token(oauth.replica.base_url(), token);
    let me = client.get("/v1/me").await.json;
    assert_eq!(
        (
            &me["email"],
            &me["name"],
            &me["has_password"],
            &me["providers"]
        ),
        (
            &json!("octo@example.com"),
            &json!("octo"),
            &json!(false),
            &json!(["github"])
        )
    );
    // Another address there is the same person here.
    let moved = GithubUser::new(1, "octo", "octo@example.org");
    let second = Browser::new(&oauth).sign_in(&oauth, &moved).await;
    assert_eq!(second.json["user_id"], first.json["user_id"]);
    assert_eq!(second.json["new_user"], json!(false));
    // The only way in cannot be taken away, but when there is another.
    let refused = client.delete("/v1/me/providers/github").await;
    assert_eq!((refused.status, refused.code()), (400, "last_login_method"));
    let password = json!({ "new_password": "a password", "confirm_password": "a password" });
    let changed = client.post("/v1/me/password", password).await;
    let token = changed.json["token"].as_str().unwrap();
    let client = Client::with_token(oauth.replica.base_url(), token);
    assert_eq!(client.delete("/v1/me/providers/github").await.status, 204);
    assert_eq!(client.delete("/v1/me/providers/github").await.status, 404);
}

#[tokio::test]
async fn an_account_that_waits_at_somebodys_address_is_theirs_when_the_provider_says_so() {
    let sink = SmtpSink::start().await.unwrap();
    let url = sink.url();
    let oauth = start(&[
        ("WRENN_SMTP_URL", &url),
        ("WRENN_MAIL_FROM", "wrenn@example.com"),
    ])
    .await;
    let nobody = Browser::new(&oauth).client;
    let body = json!({ "email": "octo@example.com", "password": "the attacker's", "name": "Eve" });
    assert_eq!(nobody.post("/v1/auth/signup", body).await.status, 201);
    let octo = GithubUser::new(1, "octo", "octo@example.com");
    let first = Browser::new(&oauth).sign_in(&oauth, &octo).await;
    assert_eq!(first.status, 200, "{first:?}");
    let token = first.json["token"].as_str().unwrap();
    let client = Client::with_token(oauth.replica.base_url(), token);
    let me = client.get("/v1/me").await.json;
    assert_eq!(
        (&me["name"], &me["has_password"]),
        (&json!("octo"), &json!(false))
    );
    let teams = client.get("/v1/teams").await.json;
    assert_eq!(teams[0]["name"], "octo's team");
    let login = json!({ "email": "octo@example.com", "password": "the attacker's" });
    assert_eq!(nobody.post("/v1/auth/login", login).await.status, 401);
}

#[tokio::test]
async fn a_state_is_good_once_and_in_its_own_browser() {
    let oauth = start(&[]).await;
    let octo = GithubUser::new(1, "octo", "octo@example.com");
    let mut browser = Browser::new(&oauth);
    let page = browser.depart().await;
    let held = browser.cookies.clone();
    let (code, state) = oauth.github.agree(&page, &octo).unwrap();
    let query = format!("code={code}&state={state}");
    // Another browser, with no cookie or with that of another departure.
    let mut foreign = Browser::new(&oauth);
    assert_eq!(foreign.come_back(&query).await, "error=invalid_state");
    foreign.depart().await;
    assert_eq!(foreign.come_back(&query).await, "error=invalid_state");
    // A forged cookie, and a forged state.
    let (body, signature) = held["wrenn_oauth_state"].split_once('.').unwrap();
    for forged in [
        format!("{body}.{}", "A".repeat(43)),
        format!("{body}x.{signature}"),
        body.to_owned(),
        String::new(),
    ] {
        let mut forger = Browser::new(&oauth);
        forger
            .cookies
            .insert("wrenn_oauth_state".to_owned(), forged);
        assert_eq!(forger.come_back(&query).await, "error=invalid_state");
    }
    browser.cookies = held.clone();
    let wrong = browser
        .come_back(&format!("code={code}&state={}", "0".repeat(64)))
        .await;
    assert_eq!(wrong, "error=invalid_state");
    browser.cookies = held.clone();
    let fragment = browser.come_back(&query).await;
    assert!(!browser.cookies.contains_key("wrenn_oauth_state"));
    // Replayed, with everything that the first time had.
    let mut replay = Browser::new(&oauth);
    replay.cookies = held;
    assert_eq!(replay.come_back(&query).await, "error=invalid_state");
    // The code for the dashboard is bound to the browser and good once.
    let stolen = Browser::new(&oauth).exchange(&fragment).await;
    assert_eq!((stolen.status, stolen.code()), (400, "invalid_token"));
    let burnt = browser.exchange(&fragment).await;
    assert_eq!(burnt.code(), "invalid_token", "whoever stole it burnt it");
    let mut again = Browser::new(&oauth);
    assert_eq!(again.sign_in(&oauth, &octo).await.status, 200);
}

#[tokio::test]
async fn what_github_refuses_or_cannot_vouch_for_is_told() {
    let oauth = start(&[]).await;
    let mut browser = Browser::new(&oauth);
    let octo = GithubUser::new(1, "octo", "octo@example.com");
    let page = browser.depart().await;
    let (_, state) = oauth.github.agree(&page, &octo).unwrap();
    let denied = browser
        .come_back(&format!("error=access_denied&state={state}"))
        .await;
    assert_eq!(denied, "error=access_denied");
    let page = browser.depart().await;
    let (_, state) = oauth.github.agree(&page, &octo).unwrap();
    assert_eq!(
        browser.come_back(&format!("state={state}")).await,
        "error=missing_code"
    );
    let page = browser.depart().await;
    let (_, state) = oauth.github.agree(&page, &octo).unwrap();
    let wrong = browser
        .come_back(&format!("code=wrong&state={state}"))
        .await;
    assert_eq!(wrong, "error=exchange_failed");
    let mut unverified = octo.clone();
    unverified.emails = vec![("octo@example.com".to_owned(), true, false)];
    let mut shown = octo.clone();
    shown.email = Some("boss@example.com".to_owned());
    let mut none = octo.clone();
    none.emails.clear();
    for user in [unverified, shown, none] {
        let page = browser.depart().await;
        let (code, state) = oauth.github.agree(&page, &user).unwrap();
        let fragment = browser
            .come_back(&format!("code={code}&state={state}"))
            .await;
        assert_eq!(fragment, "error=exchange_failed", "{user:?}");
    }
    let unknown = browser
        .send(Method::GET, "/v1/auth/oauth/gitlab", None)
        .await;
    assert_eq!(
        (unknown.status, unknown.code()),
        (404, "provider_not_found")
    );
    let accounts: i64 = sqlx::query_scalar("SELECT count(*) FROM oauth_identities")
        .fetch_one(&oauth.world.db)
        .await
        .unwrap();
    assert_eq!(accounts, 0);
}

#[tokio::test]
async fn an_address_of_somebody_else_is_never_linked_by_itself() {
    let oauth = start(&[]).await;
    let ada = Person::sign_up(&oauth.replica, "ada").await.unwrap();
    let octo = GithubUser::new(1, "octo", &ada.email);
    let mut browser = Browser::new(&oauth);
    let page = browser.depart().await;
    let (code, state) = oauth.github.agree(&page, &octo).unwrap();
    let fragment = browser
        .come_back(&format!("code={code}&state={state}"))
        .await;
    assert_eq!(fragment, "error=email_taken");
    // She links it herself.
    let connect = async |who: &Person, browser: &mut Browser| {
        let answer = who.client.get("/v1/me/providers/github/connect").await;
        browser.take(&answer);
        answer.json["auth_url"].as_str().unwrap().to_owned()
    };
    let page = connect(&ada, &mut browser).await;
    let (code, state) = oauth.github.agree(&page, &octo).unwrap();
    let fragment = browser
        .come_back(&format!("code={code}&state={state}"))
        .await;
    assert_eq!(
        browser.exchange(&fragment).await.json["user_id"],
        json!(ada.id.to_string())
    );
    assert_eq!(
        ada.client.get("/v1/me").await.json["providers"],
        json!(["github"])
    );
    let signed_in = Browser::new(&oauth).sign_in(&oauth, &octo).await;
    assert_eq!(signed_in.json["user_id"], json!(ada.id.to_string()));
    // Nobody else can.
    let eve = Person::sign_up(&oauth.replica, "eve").await.unwrap();
    let page = connect(&eve, &mut browser).await;
    let (code, state) = oauth.github.agree(&page, &octo).unwrap();
    let fragment = browser
        .come_back(&format!("code={code}&state={state}"))
        .await;
    assert_eq!(fragment, "error=email_taken");
    sqlx::query("UPDATE users SET status = 'disabled' WHERE id = $1")
        .bind(ada.id.as_uuid())
        .execute(&oauth.world.db)
        .await
        .unwrap();
    let page = browser.depart().await;
    let (code, state) = oauth.github.agree(&page, &octo).unwrap();
    let fragment = browser
        .come_back(&format!("code={code}&state={state}"))
        .await;
    assert_eq!(fragment, "error=account_deactivated");
}

#[tokio::test]
async fn two_callbacks_at_once_make_one_account() {
    let oauth = start(&[]).await;
    let octo = GithubUser::new(1, "octo", "octo@example.com");
    let come = async || Browser::new(&oauth).sign_in(&oauth, &octo).await;
    let (one, two, three) = tokio::join!(come(), come(), come());
    let answers = [one, two, three];
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json["user_id"], answers[0].json["user_id"]);
    }
    let new = answers
        .iter()
        .filter(|answer| answer.json["new_user"] == json!(true));
    assert_eq!(new.count(), 1);
    let counts: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM users WHERE email = 'octo@example.com'),
                (SELECT count(*) FROM teams WHERE name = 'octo''s team')",
    )
    .fetch_one(&oauth.world.db)
    .await
    .unwrap();
    assert_eq!(counts, (1, 1));
}

#[tokio::test]
async fn where_sign_up_is_closed_strangers_stay_outside() {
    let oauth = start(&[("WRENN_SIGNUP", "closed")]).await;
    let octo = GithubUser::new(1, "octo", "octo@example.com");
    let mut browser = Browser::new(&oauth);
    let page = browser.depart().await;
    let (code, state) = oauth.github.agree(&page, &octo).unwrap();
    let fragment = browser
        .come_back(&format!("code={code}&state={state}"))
        .await;
    assert_eq!(fragment, "error=no_account");
}
