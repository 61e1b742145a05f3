//! Activation and reset by mail, over a real SMTP conversation.

use reqwest::Method;
use serde_json::{Value, json};
use wrenn_testkit::{
    client::{Answer, Client},
    control_plane::{Options, Replica, World, eventually},
    person::{PASSWORD, Person},
    smtp_sink::{Mail, SmtpSink},
};

struct Mailing {
    world: World,
    replica: Replica,
    sink: SmtpSink,
    nobody: Client,
}

async fn start() -> Mailing {
    let (world, sink) = (
        World::new().await.unwrap(),
        SmtpSink::start().await.unwrap(),
    );
    let settings = vec![
        ("WRENN_SMTP_URL", sink.url()),
        ("WRENN_MAIL_FROM", "Wrenn <wrenn@example.com>".to_owned()),
        ("CP_PUBLIC_URL", "https://wrenn.example.com".to_owned()),
    ];
    let options = Options {
        settings,
        ..Options::default()
    };
    let replica = world.replica(options).unwrap();
    let nobody = Client::new(replica.base_url(), None);
    Mailing {
        world,
        replica,
        sink,
        nobody,
    }
}

impl Mailing {
    async fn sign_up(&self, email: &str) -> Answer {
        let body = json!({ "email": email, "password": PASSWORD, "name": "Ada" });
        self.nobody.post("/v1/auth/signup", body).await
    }

    async fn login(&self, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        self.nobody.post("/v1/auth/login", body).await
    }

    /// The mail that comes as number `n`, from 1.
    async fn mail(&self, n: usize) -> Mail {
        eventually("the mail is sent", async || self.sink.mails().len() >= n)
            .await
            .unwrap();
        self.sink.mails()[n - 1].clone()
    }
}

/// The token in the fragment of a link.
fn token(mail: &Mail, page: &str) -> String {
    let link = mail.link().unwrap_or_else(|| panic!("a link: {mail:?}"));
    let page = format!("https://wrenn.example.com{page}#token=");
    let token = link.strip_prefix(&page);
    token
        .unwrap_or_else(|| panic!("{page} in {link}"))
        .to_owned()
}

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

#[tokio::test]
async fn an_account_waits_for_the_link_in_its_mail() {
    let mailing = start().await;
    let config = mailing.nobody.get("/v1/auth/config").await.json;
    assert_eq!(config["email_enabled"], true);
    let waiting = mailing.sign_up("Ada@example.com").await;
    assert_eq!(
        (waiting.status, waiting.json["token"].clone()),
        (201, Value::Null)
    );
    assert!(waiting.json["message"].is_string());
    check(
        &mailing.login("ada@example.com", PASSWORD).await,
        403,
        "account_not_activated",
    );
    check(
        &mailing.login("ada@example.com", "wrong password").await,
        401,
        "unauthorized",
    );
    check(
        &mailing.sign_up("ada@example.com").await,
        409,
        "signup_cooldown",
    );
    let mail = mailing.mail(1).await;
    assert_eq!(
        (&*mail.from, &*mail.to),
        ("wrenn@example.com", "ada@example.com")
    );
    assert!(
        mail.text.contains("Subject: Activate your Wrenn account"),
        "{mail:?}"
    );
    let token = token(&mail, "/activate");
    // What waits in the database tells no link, and nothing is left of it once it is out.
    eventually("the link is erased", async || {
        let left = "SELECT count(*) FROM mail_outbox WHERE sent_at IS NULL OR params <> '{}'";
        let left: i64 = sqlx::query_scalar(left)
            .fetch_one(&mailing.world.db)
            .await
            .unwrap();
        left == 0
    })
    .await
    .unwrap();
    let activate = async |token: &str| {
        mailing
            .nobody
            .post("/v1/auth/activate", json!({ "token": token }))
            .await
    };
    check(&activate("0").await, 400, "invalid_token");
    let active = activate(&token).await;
    assert_eq!(active.status, 200, "{active:?}");
    assert!(active.json["team_id"].is_string());
    check(&activate(&token).await, 400, "invalid_token");
    assert_eq!(mailing.login("ada@example.com", PASSWORD).await.status, 200);
    check(
        &mailing.sign_up("ada@example.com").await,
        409,
        "email_taken",
    );
}

#[tokio::test]
async fn mail_goes_out_at_the_word_of_the_database() {
    let mailing = start().await;
    let mut told = sqlx::postgres::PgListener::connect_with(&mailing.world.db)
        .await
        .unwrap();
    told.listen("wrenn_mail").await.unwrap();
    // Without the word of it the next look would come a minute later, which nobody waits for here.
    for n in 1..=3 {
        let signed_up = mailing.sign_up(&format!("ada{n}@example.com")).await;
        assert_eq!(signed_up.status, 201);
        told.recv().await.unwrap();
        mailing.mail(n).await;
    }
}

#[tokio::test]
async fn whoever_signs_up_with_somebodys_address_gains_nothing() {
    const THEIRS: &str = "the attacker's password";
    let mailing = start().await;
    let sign_up = async |email: &str, password: &str, name: &str| {
        let body = json!({ "email": email, "password": password, "name": name });
        mailing.nobody.post("/v1/auth/signup", body).await
    };
    let later = async || {
        sqlx::query("UPDATE users SET updated_at = now() - interval '31 min'")
            .execute(&mailing.world.db)
            .await
            .unwrap();
    };
    let activate = async |mail: &Mail| {
        let body = json!({ "token": token(mail, "/activate") });
        mailing.nobody.post("/v1/auth/activate", body).await
    };
    let nobodys = async |email: &str, activated: Answer, name: &str| {
        assert_eq!(activated.status, 200, "{activated:?}");
        for password in [THEIRS, PASSWORD] {
            check(&mailing.login(email, password).await, 401, "unauthorized");
        }
        // Whoever opened the mail is in, and chooses a password.
        let client = Client::with_token(
            mailing.replica.base_url(),
            activated.json["token"].as_str().unwrap(),
        );
        let me = client.get("/v1/me").await.json;
        assert_eq!(
            (&me["has_password"], &me["name"]),
            (&json!(false), &json!(name))
        );
        let team = client.get("/v1/teams").await.json[0]["name"].clone();
        assert_eq!(team, json!(format!("{name}'s team")));
        let body = json!({ "new_password": PASSWORD, "confirm_password": PASSWORD });
        assert_eq!(client.post("/v1/me/password", body).await.status, 200);
        assert_eq!(mailing.login(email, PASSWORD).await.status, 200);
    };

    // The attacker was first; whose address it is is told of a mail that is on its way, and opens that one.
    assert_eq!(sign_up("ada@example.com", THEIRS, "Eve").await.status, 201);
    let early = sign_up("ada@example.com", PASSWORD, "Ada").await;
    check(&early, 409, "signup_cooldown");
    let opened = activate(&mailing.mail(1).await).await;
    nobodys("ada@example.com", opened, "Eve").await;

    // The attacker was first, and half an hour passes.
    assert_eq!(sign_up("bob@example.com", THEIRS, "Eve").await.status, 201);
    mailing.mail(2).await;
    later().await;
    assert_eq!(
        sign_up("bob@example.com", PASSWORD, "Bob").await.status,
        201
    );
    let opened = activate(&mailing.mail(3).await).await;
    nobodys("bob@example.com", opened, "Bob").await;

    // The attacker was second: the second mail carries nothing of theirs either.
    assert_eq!(sign_up("cy@example.com", PASSWORD, "Cy").await.status, 201);
    mailing.mail(4).await;
    later().await;
    assert_eq!(sign_up("cy@example.com", THEIRS, "Cyrus").await.status, 201);
    let opened = activate(&mailing.mail(5).await).await;
    nobodys("cy@example.com", opened, "Cyrus").await;

    // Who tries again with the same password is the same person.
    assert_eq!(
        sign_up("dan@example.com", PASSWORD, "Dan").await.status,
        201
    );
    check(
        &sign_up("dan@example.com", PASSWORD, "Dan").await,
        409,
        "signup_cooldown",
    );
    assert_eq!(activate(&mailing.mail(6).await).await.status, 200);
    assert_eq!(mailing.login("dan@example.com", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn whoever_lost_the_first_mail_signs_up_again_later() {
    let mailing = start().await;
    assert_eq!(mailing.sign_up("ada@example.com").await.status, 201);
    let first = token(&mailing.mail(1).await, "/activate");
    sqlx::query("UPDATE users SET updated_at = now() - interval '31 min'")
        .execute(&mailing.world.db)
        .await
        .unwrap();
    assert_eq!(mailing.sign_up("ada@example.com").await.status, 201);
    let second = token(&mailing.mail(2).await, "/activate");
    let activate = async |token: &str| {
        mailing
            .nobody
            .post("/v1/auth/activate", json!({ "token": token }))
            .await
    };
    assert_eq!(activate(&second).await.status, 200);
    check(&activate(&first).await, 400, "already_activated");
}

#[tokio::test]
async fn a_forgotten_password_is_reset_by_mail_once() {
    let mailing = start().await;
    mailing.sign_up("ada@example.com").await;
    let activation = token(&mailing.mail(1).await, "/activate");
    let body = json!({ "token": activation });
    assert_eq!(
        mailing.nobody.post("/v1/auth/activate", body).await.status,
        200
    );
    let ada = Person::log_in(&mailing.replica, "ada@example.com")
        .await
        .unwrap();
    let ask = async |email: &str| {
        let body = json!({ "email": email });
        let answer = mailing.nobody.post("/v1/me/password/reset", body).await;
        (answer.status, answer.bytes)
    };
    assert_eq!(
        ask("nobody@example.com").await,
        ask("ADA@example.com").await
    );
    let mail = mailing.mail(2).await;
    assert_eq!(mail.to, "ada@example.com");
    let first = token(&mail, "/reset/confirm");
    ask("ada@example.com").await;
    let second = token(&mailing.mail(3).await, "/reset/confirm");
    let confirm = async |token: &str, password: &str| {
        let body = json!({ "token": token, "new_password": password });
        mailing
            .nobody
            .post("/v1/me/password/reset/confirm", body)
            .await
    };
    check(&confirm(&first, "short").await, 400, "invalid_request");
    assert_eq!(confirm(&first, "another password").await.status, 204);
    check(
        &confirm(&first, "a third password").await,
        400,
        "invalid_token",
    );
    // It was made for the password before.
    check(
        &confirm(&second, "a third password").await,
        400,
        "invalid_token",
    );
    check(&ada.client.get("/v1/me").await, 401, "unauthorized");
    check(
        &mailing.login("ada@example.com", PASSWORD).await,
        401,
        "unauthorized",
    );
    assert_eq!(
        mailing
            .login("ada@example.com", "another password")
            .await
            .status,
        200
    );
    // A token for one purpose is nothing for another.
    check(
        &mailing
            .nobody
            .post("/v1/auth/activate", json!({ "token": second }))
            .await,
        400,
        "invalid_token",
    );
    assert_eq!(mailing.sink.mails().len(), 3);
}

#[tokio::test]
async fn a_mail_that_was_refused_is_sent_later() {
    let mailing = start().await;
    mailing.sink.refuse(1);
    assert_eq!(mailing.sign_up("ada@example.com").await.status, 201);
    eventually("the first attempt is refused", async || {
        mailing.sink.refusals_left() == 0
    })
    .await
    .unwrap();
    eventually("the next attempt is due", async || {
        let due = "UPDATE mail_outbox SET next_attempt_at = now() WHERE attempts = 1
                   AND next_attempt_at < now() + interval '30 s'
                   RETURNING pg_notify('wrenn_mail', '')";
        sqlx::query(due)
            .execute(&mailing.world.db)
            .await
            .unwrap()
            .rows_affected()
            == 1
    })
    .await
    .unwrap();
    mailing.mail(1).await;
    let request = mailing.nobody.request(Method::GET, "/readyz");
    assert_eq!(mailing.nobody.send(request).await.status, 200);
}
