//! Where a request comes from: the peer, or what the proxies that we trust say before it.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{Extensions, HeaderMap, request::Parts},
};

use crate::{config::Networks, state::App};

/// Address of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientIp(pub(crate) IpAddr);

/// The client behind a request: read from the right, `X-Forwarded-For` is believed as far as trusted proxies
/// wrote it.
pub(super) fn client_ip(
    headers: &HeaderMap,
    extensions: &Extensions,
    trusted: &Networks,
) -> ClientIp {
    let peer = extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let mut client = peer.to_canonical();
    let forwarded = headers.get_all("x-forwarded-for");
    let forwarded: Vec<&str> = forwarded
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for hop in forwarded.iter().rev() {
        if !trusted.contains(client) {
            break;
        }
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
    }
    ClientIp(client)
}

impl FromRequestParts<Arc<App>> for ClientIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        Ok(client_ip(
            &parts.headers,
            &parts.extensions,
            &app.trusted_proxies,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, forwarded: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        let trusted = "loopback,10.0.0.0/8".parse().unwrap();
        let ClientIp(client) = client_ip(&headers, &extensions, &trusted);
        assert_eq!(client.to_string(), expected, "{peer} {forwarded:?}");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        check("1.2.3.4", &[], "1.2.3.4");
        check("1.2.3.4", &["5.6.7.8"], "1.2.3.4");
        check("127.0.0.1", &["5.6.7.8"], "5.6.7.8");
        check("127.0.0.1", &["9.9.9.9, 5.6.7.8"], "5.6.7.8");
        check("127.0.0.1", &["9.9.9.9, 5.6.7.8, 10.1.1.1"], "5.6.7.8");
        check("127.0.0.1", &["9.9.9.9", "5.6.7.8"], "5.6.7.8");
        check("127.0.0.1", &["5.6.7.8, nonsense"], "127.0.0.1");
        check("::ffff:127.0.0.1", &["::ffff:5.6.7.8"], "5.6.7.8");
    }
}
