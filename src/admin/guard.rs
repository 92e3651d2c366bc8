//! Who may ask, and how much a request may cost.
//!
//! With a token: whoever sends it. Without one the endpoint is on loopback, and a program on this machine may ask; a web page
//! that a browser on this machine shows may not, neither by a form (it sends `Origin`) nor by a name of its own that it has made to
//! mean this machine (it sends that name as `Host`).

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use super::reply::problem;
use super::{Shared, profile};

/// Largest body of a request. No endpoint reads one.
const BODY_BYTES_MAX: usize = 16 << 10;

/// Longest time for an answer: that of the longest profile, and some for making it.
const ANSWER_WAIT: Duration = Duration::from_secs(profile::SECONDS_MAX + 30);

/// Paths that anyone may ask who reaches us: who runs containers asks for their health without secrets.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// Whether the client is one that may see more than the health.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trusted(pub bool);

/// The value of the header `Authorization` that shows a token.
pub fn authorization(token: &str) -> String {
    format!("Bearer {token}")
}

/// Puts the guards around all routes.
pub(super) fn around(router: Router<Shared>, app: &Shared) -> Router<Shared> {
    router
        .layer(from_fn_with_state(Shared::clone(app), check))
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_WAIT))
}

async fn check(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let refusal = match &app.setup.token {
        Some(token) => unauthorized(request.headers(), token),
        None => foreign(request.headers()),
    };
    let open = OPEN.contains(&request.uri().path());
    let trusted = Trusted(refusal.is_none());
    match refusal.filter(|_| !open) {
        Some(refusal) => refusal,
        None => {
            request.extensions_mut().insert(trusted);
            next.run(request).await
        }
    }
}

fn unauthorized(headers: &HeaderMap, token: &str) -> Option<Response> {
    let wanted = authorization(token);
    let shown = headers.get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    if same(shown, wanted.as_bytes()) {
        return None;
    }
    let mut refusal = problem(StatusCode::UNAUTHORIZED, "send the admin token: `Authorization: Bearer TOKEN`");
    refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Some(refusal.into_response())
}

/// Compares in a time that does not tell where the two differ.
fn same(shown: &[u8], wanted: &[u8]) -> bool {
    shown.len() == wanted.len() && shown.iter().zip(wanted).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn foreign(headers: &HeaderMap) -> Option<Response> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let host = text(HOST).unwrap_or("localhost");
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.contains(']') { host } else { name });
    let ours = ["localhost", "[::1]"].contains(&name)
        || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    if ours && text(ORIGIN).is_none() {
        return None;
    }
    let error = "without a token only programs on this machine may ask, by the address 127.0.0.1 or the name localhost, and no web page";
    Some(problem(StatusCode::FORBIDDEN, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn a_token_is_taken_whole_and_alone() {
        let refused = |value: &str| unauthorized(&headers(&[("authorization", value)]), "0123456789abcdef").is_some();
        assert!(!refused("Bearer 0123456789abcdef"));
        for wrong in ["", "Bearer", "Bearer 0123456789abcde", "Bearer 0123456789abcdeF", "Basic 0123456789abcdef"] {
            assert!(refused(wrong), "{wrong}");
        }
        assert!(unauthorized(&HeaderMap::new(), "0123456789abcdef").is_some());
    }

    #[test]
    fn without_a_token_only_this_machine_by_its_own_names_may_ask() {
        let refused = |all: &[(&'static str, &str)]| foreign(&headers(all)).is_some();
        for host in ["localhost", "localhost:9470", "127.0.0.1:9470", "127.8.8.8", "[::1]:9470", "[::1]"] {
            assert!(!refused(&[("host", host)]), "{host}");
        }
        for host in ["evil.example", "evil.example:9470", "10.0.0.1:9470", "[::2]:9470", "localhost.evil.example", ""] {
            assert!(refused(&[("host", host)]), "{host}");
        }
        assert!(refused(&[("host", "localhost"), ("origin", "http://evil.example")]));
    }
}
