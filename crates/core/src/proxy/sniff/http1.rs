//! HTTP/1.0 and 1.1 (RFC 9112): the host of the target, else of `Host:`.

use httparse::{EMPTY_HEADER, Header, Request, Status};

use super::{MAX_HEAD_BYTES, Protocol, Sniffed, known};
use crate::proxy::name::Target;

/// Longer than any registered method (`UPDATEREDIRECTREF`).
const MAX_METHOD: usize = 20;
/// More than browsers send. Requests with more are refused.
const MAX_HEADERS: usize = 256;
/// Empty lines before a request, in bytes, which servers may ignore (section 2.2).
const MAX_BLANK: usize = 4;

pub(super) fn sniff(bytes: &[u8]) -> Sniffed {
    let more = if bytes.len() < MAX_HEAD_BYTES {
        Sniffed::More
    } else {
        Sniffed::TooLong
    };
    let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n'));
    let (blank, head) = bytes.split_at(blank.take(MAX_BLANK).count());
    if head.is_empty() && blank.len() < MAX_BLANK {
        return Sniffed::More;
    }
    match first_line(head) {
        None if !may_be_request(head) => return Sniffed::Other,
        None => return more,
        Some(line) if !is_request_line(line) => return Sniffed::Other,
        Some(_) => {}
    }
    // Parse only complete heads, so that slow clients cost nothing.
    let ended = |part: &[u8]| part == b"\n\n" || part == b"\n\r";
    if !head.windows(2).any(ended) {
        return more;
    }
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {
            let html = accepts_html(&request);
            known(Protocol::Http1 { html }, requested_target(&request))
        }
        Ok(Status::Partial) => more,
        Err(httparse::Error::TooManyHeaders) => Sniffed::TooLong,
        Err(_) => known(Protocol::Http1 { html: false }, Target::Invalid),
    }
}

/// Whether the bytes so far match a method in capitals and a space.
fn may_be_request(bytes: &[u8]) -> bool {
    let method = bytes.iter().position(|b| !matches!(b, b'A'..=b'Z' | b'-'));
    match method {
        Some(end) => (1..=MAX_METHOD).contains(&end) && bytes[end] == b' ',
        None => bytes.len() <= MAX_METHOD,
    }
}

/// The first line without its line break, once complete.
fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let line = &bytes[..end];
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Whether a line is a complete request line.
fn is_request_line(line: &[u8]) -> bool {
    let version = [&b" HTTP/1.1"[..], b" HTTP/1.0"];
    may_be_request(line) && version.iter().any(|version| line.ends_with(version))
}

fn values<'a>(request: &'a Request, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let of_name = move |header: &&Header| header.name.eq_ignore_ascii_case(name);
    request
        .headers
        .iter()
        .filter(of_name)
        .map(|header| header.value)
}

fn accepts_html(request: &Request) -> bool {
    values(request, "accept").any(|value| value.windows(9).any(|part| part == b"text/html"))
}

/// Returns the requested target. An absolute request target must agree with `Host:`.
fn requested_target(request: &Request) -> Target {
    let hosts = values(request, "host").map(|value| match std::str::from_utf8(value) {
        Ok(text) => Target::of_authority(text.trim()),
        Err(_) => Target::Invalid,
    });
    let target = authority_of_target(request).map(Target::of_authority);
    let mut all = target.into_iter().chain(hosts);
    // HTTP/1.0 needs no host.
    let first = all.next().unwrap_or(Target::Focus);
    if all.all(|other| other == first) {
        first
    } else {
        Target::Invalid
    }
}

fn authority_of_target<'a>(request: &Request<'_, 'a>) -> Option<&'a str> {
    let target = request.path?;
    if request.method == Some("CONNECT") {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    rest.split(['/', '?', '#']).next()
}

#[cfg(test)]
mod tests {
    use super::super::sniff;
    use super::super::tests::bytewise;
    use super::*;
    use crate::proxy::name::RouteName;

    fn verdict(head: &str) -> Sniffed {
        bytewise(head.as_bytes())
    }

    fn http(requested_target: Target) -> Sniffed {
        known(Protocol::Http1 { html: false }, requested_target)
    }

    fn dev() -> Target {
        Target::Named(RouteName::of("dev", Some("web")))
    }

    #[test]
    fn finds_host_in_header_and_target() {
        let hosts = [
            "GET / HTTP/1.1\r\nHost: dev.web.localhost:5173\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\nhOST:DEV.web.localhost\r\nC: d\r\n\r\n",
            "GET http://dev.web.localhost/x?y HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: dev.web.localhost\r\n\r\n",
            "CONNECT dev.web.localhost:443 HTTP/1.1\r\n\r\n",
            "VERSION-CONTROL / HTTP/1.1\nHost: dev.web.localhost\n\n",
            "GET /ws HTTP/1.1\r\nHost: dev.web.localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ];
        for head in hosts {
            assert_eq!(verdict(head), http(dev()), "{head}");
            assert_eq!(verdict(&format!("\r\n{head}")), http(dev()), "{head}");
        }
        assert_eq!(verdict("GET / HTTP/1.0\r\n\r\n"), http(Target::Focus));
    }

    #[test]
    fn url_in_query_is_not_a_host() {
        let head = "GET /redirect?to=http://other.web.localhost/ HTTP/1.1\r\nHost: dev.web.localhost\r\n\r\n";
        assert_eq!(verdict(head), http(dev()));
    }

    #[test]
    fn detects_clients_that_accept_html() {
        let head = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html,*/*\r\n\r\n";
        assert_eq!(
            verdict(head),
            known(Protocol::Http1 { html: true }, Target::Focus)
        );
    }

    #[test]
    fn different_hosts_are_invalid() {
        for head in [
            "GET / HTTP/1.1\r\nHost: dev.web.localhost\r\nHost: b.web.localhost\r\n\r\n",
            "GET http://b.web.localhost/ HTTP/1.1\r\nHost: dev.web.localhost\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@dev.web.localhost\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: d\u{e9}v.web.localhost\r\n\r\n",
        ] {
            assert_eq!(verdict(head), http(Target::Invalid), "{head}");
        }
    }

    #[test]
    fn malformed_head_is_invalid() {
        let head = b"GET / HTTP/1.1\r\nHost: dev.web.localhost\r\nbad header\0: x\r\n\r\n";
        assert_eq!(sniff(head), http(Target::Invalid));
    }

    #[test]
    fn large_heads_are_refused() {
        let mut head = b"GET / HTTP/1.1\r\nX: ".to_vec();
        head.resize(MAX_HEAD_BYTES - 1, b'a');
        assert_eq!(sniff(&head), Sniffed::More);
        head.push(b'a');
        assert_eq!(sniff(&head), Sniffed::TooLong);
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "X: y\r\n".repeat(MAX_HEADERS + 1)
        );
        assert_eq!(sniff(many.as_bytes()), Sniffed::TooLong);
    }

    #[test]
    fn capitals_without_space_are_not_http() {
        assert_eq!(sniff(b"GE"), Sniffed::More);
        assert_eq!(sniff(b"HELLO\r\n"), Sniffed::Other);
        assert_eq!(sniff(&[b'A'; MAX_METHOD + 1]), Sniffed::Other);
    }
}
