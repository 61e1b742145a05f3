//! Origins of web pages (RFC 6454): which one is the dashboard's, and which others may call from a browser.
//!
//! A page may present our cookie only where its origin is that of `CP_PUBLIC_URL`. On one's own machine that
//! has three names, and whichever one types into the browser is meant.

/// The names of one's own machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What a page of this origin may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The dashboard: it may present our cookie.
    Own,
    /// It may call with a token that it has.
    Admitted,
}

/// The origins that are known.
#[derive(Debug)]
pub(crate) struct Origins {
    own: Vec<String>,
    admitted: Vec<String>,
}

impl Origins {
    /// `admitted` as [`normal`] gives them.
    pub(crate) fn new(public_url: &str, admitted: Vec<String>) -> Self {
        let own = normal(public_url).unwrap_or_else(|| public_url.to_owned());
        Self {
            own: twins(&own),
            admitted,
        }
    }

    /// What a page of this origin may do; `None`: nothing.
    pub(crate) fn standing(&self, origin: &str) -> Option<Standing> {
        let among = |known: &[String]| known.iter().any(|known| known == origin);
        if among(&self.own) {
            return Some(Standing::Own);
        }
        among(&self.admitted).then_some(Standing::Admitted)
    }
}

/// An origin as browsers write it: lowercase, and without the port that its scheme has anyway. `None`: it is none.
pub(crate) fn normal(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let (scheme, place) = text.split_once("://")?;
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    // The colons of an IPv6 address stand in brackets.
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().ok()?),
        _ => (place, usual),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_[]:".contains(c);
    let bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || !bare || !host.chars().all(fits) {
        return None;
    }
    Some(if port == usual {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{host}:{port}")
    })
}

/// The origin, and where it is one's own machine its other names.
fn twins(origin: &str) -> Vec<String> {
    let Some((scheme, place)) = origin.split_once("://") else {
        return vec![origin.to_owned()];
    };
    for name in LOOPBACK {
        let port = place.strip_prefix(name);
        if let Some(port) = port.filter(|port| port.is_empty() || port.starts_with(':')) {
            let named = LOOPBACK.map(|name| format!("{scheme}://{name}{port}"));
            return named.to_vec();
        }
    }
    vec![origin.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_do() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(normal(text).as_deref(), expected, "{text}");
        };
        check("https://App.Example.com", Some("https://app.example.com"));
        check(
            "https://app.example.com:443",
            Some("https://app.example.com"),
        );
        check("http://localhost:80", Some("http://localhost"));
        check("http://localhost:8080", Some("http://localhost:8080"));
        check("http://[::1]:8080", Some("http://[::1]:8080"));
        check("http://[::1]", Some("http://[::1]"));
        for none in [
            "",
            "*",
            "null",
            "app.example.com",
            "ftp://a",
            "https://",
            "https://a/",
            "https://a:x",
        ] {
            check(none, None);
        }
        check("https://a@b", None);
        check("https://a,https://b", None);
    }

    #[test]
    fn ones_own_machine_has_three_names_and_a_server_has_one() {
        let check = |public: &str, origin: &str, expected: Option<Standing>| {
            let origins = Origins::new(public, vec!["https://tool.example.com".to_owned()]);
            assert_eq!(origins.standing(origin), expected, "{public} {origin}");
        };
        let local = "http://localhost:8080";
        for own in [local, "http://127.0.0.1:8080", "http://[::1]:8080"] {
            check(local, own, Some(Standing::Own));
            check(own, local, Some(Standing::Own));
        }
        for other in [
            "http://localhost",
            "http://127.0.0.1:8081",
            "https://localhost:8080",
            "http://localhost.example.com:8080",
            "null",
        ] {
            check(local, other, None);
        }
        let server = "https://wrenn.example.com";
        check(server, server, Some(Standing::Own));
        check(server, local, None);
        check("https://wrenn.example.com:443", server, Some(Standing::Own));
        check(server, "https://tool.example.com", Some(Standing::Admitted));
        check(server, "https://other.example.com", None);
        check("http://localhost.example.com", "http://localhost", None);
    }
}
