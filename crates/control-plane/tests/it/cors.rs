//! Pages of other origins: those of the settings may call, the dashboard's own may send its cookie.

use reqwest::Method;
use serde_json::json;
use wrenn_testkit::{
    client::{Answer, Client},
    control_plane::{Options, Replica, World},
    person::{PASSWORD, Person},
};

const PUBLIC: &str = "https://wrenn.example.com";
const TOOL: &str = "https://tool.example.com";

async fn start(settings: &[(&'static str, &str)]) -> (World, Replica, Client) {
    let world = World::new().await.unwrap();
    let settings = settings.iter();
    let options = Options {
        settings: settings
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        ..Options::default()
    };
    let replica = world.replica(options).unwrap();
    let nobody = Client::new(replica.base_url(), None);
    (world, replica, nobody)
}

async fn from(client: &Client, method: Method, path: &str, origin: &str) -> Answer {
    let request = client.request(method, path).header("origin", origin);
    client.send(request).await
}

async fn ahead(client: &Client, path: &str, origin: &str) -> Answer {
    let request = client
        .request(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", "PATCH")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    client.send(request).await
}

fn granted(answer: &Answer) -> (&str, &str) {
    (
        answer.header("access-control-allow-origin"),
        answer.header("access-control-allow-credentials"),
    )
}

#[tokio::test]
async fn pages_that_the_settings_name_may_call_with_a_token_and_no_other_may() {
    let settings = [
        ("CP_PUBLIC_URL", PUBLIC),
        (
            "WRENN_CORS_ORIGINS",
            "https://tool.example.com, http://Other.example.com:80",
        ),
    ];
    let (world, replica, nobody) = start(&settings).await;
    let key = world.client(&replica);
    for (origin, expected) in [
        (TOOL, (TOOL, "")),
        ("http://other.example.com", ("http://other.example.com", "")),
        // Its cookie goes along with the dashboard's own pages alone.
        (PUBLIC, (PUBLIC, "true")),
    ] {
        let answer = from(&key, Method::GET, "/v1/sandboxes?limit=1", origin).await;
        assert_eq!((answer.status, granted(&answer)), (200, expected));
        assert_eq!(answer.header("vary"), "origin");
        let exposed = answer.header("access-control-expose-headers");
        for name in [
            "x-next-cursor",
            "x-request-id",
            "retry-after",
            "x-ratelimit-remaining",
        ] {
            assert!(exposed.contains(name), "{exposed}");
        }
        // Refusals are read too: the page shows why.
        for path in ["/v1/sandboxes", "/v1/nothing"] {
            let refused = from(&nobody, Method::GET, path, origin).await;
            assert!(refused.status >= 401, "{refused:?}");
            assert_eq!(granted(&refused), expected, "{path}");
        }
        let asked = ahead(&nobody, "/v1/sandboxes/sb-1", origin).await;
        assert_eq!(
            (asked.status, granted(&asked)),
            (204, expected),
            "{asked:?}"
        );
        let methods = asked.header("access-control-allow-methods");
        assert!(
            methods.contains("PATCH") && methods.contains("DELETE"),
            "{methods}"
        );
        let headers = asked.header("access-control-allow-headers");
        for name in [
            "authorization",
            "content-type",
            "x-api-key",
            "idempotency-key",
            "x-wrenn-client",
        ] {
            assert!(headers.contains(name), "{headers}");
        }
        assert_eq!(asked.header("access-control-max-age"), "600");
        assert_eq!(asked.header("x-request-id").len(), 36);
    }
    for origin in [
        "https://evil.example.com",
        "http://tool.example.com",
        "https://tool.example.com.evil.example.com",
        "https://tool.example.com:8443",
        "null",
        "http://localhost:8080",
    ] {
        let answer = from(&key, Method::GET, "/v1/sandboxes", origin).await;
        assert_eq!(
            (answer.status, granted(&answer)),
            (200, ("", "")),
            "{origin}"
        );
        assert_eq!(answer.header("vary"), "origin", "{origin}");
        let asked = ahead(&nobody, "/v1/sandboxes", origin).await;
        assert_eq!((asked.status, asked.code()), (405, "method_not_allowed"));
        assert_eq!(granted(&asked), ("", ""), "{origin}");
        assert_eq!(asked.header("access-control-allow-methods"), "");
    }
    // What is no question of a browser is answered as ever.
    let plain = from(&nobody, Method::OPTIONS, "/v1/sandboxes", TOOL).await;
    assert_eq!(plain.status, 405);
    let none = key.get("/v1/sandboxes").await;
    assert_eq!((granted(&none), none.header("vary")), (("", ""), ""));
}

#[tokio::test]
async fn a_page_that_may_call_may_not_send_our_cookie() {
    let settings = [("CP_PUBLIC_URL", PUBLIC), ("WRENN_CORS_ORIGINS", TOOL)];
    let (_world, replica, nobody) = start(&settings).await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    let held = cookie(&nobody, &ada.email).await;
    assert_eq!(refreshed(&nobody, &held, TOOL).await, 403);
    assert_eq!(refreshed(&nobody, &held, PUBLIC).await, 200);
}

/// The cookie of a session that a browser begins.
async fn cookie(nobody: &Client, email: &str) -> String {
    let login = nobody
        .request(Method::POST, "/v1/auth/login")
        .header("x-wrenn-client", "dashboard")
        .json(&json!({ "email": email, "password": PASSWORD }));
    let login = nobody.send(login).await;
    let header = login.header("set-cookie");
    header.split(';').next().unwrap_or_default().to_owned()
}

async fn refreshed(nobody: &Client, cookie: &str, origin: &str) -> u16 {
    let request = nobody
        .request(Method::POST, "/v1/auth/refresh")
        .header("x-wrenn-client", "dashboard")
        .header("cookie", cookie)
        .header("origin", origin);
    nobody.send(request).await.status
}

#[tokio::test]
async fn on_ones_own_machine_the_dashboard_may_be_opened_by_each_of_its_names() {
    let (_world, replica, nobody) = start(&[("CP_PUBLIC_URL", "http://localhost:8080")]).await;
    let ada = Person::sign_up(&replica, "ada").await.unwrap();
    for origin in [
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
    ] {
        let held = cookie(&nobody, &ada.email).await;
        assert_eq!(refreshed(&nobody, &held, origin).await, 200, "{origin}");
    }
    let held = cookie(&nobody, &ada.email).await;
    for origin in [
        "http://127.0.0.1:9090",
        "https://localhost:8080",
        "http://192.0.2.1:8080",
    ] {
        assert_eq!(refreshed(&nobody, &held, origin).await, 403, "{origin}");
    }
}
