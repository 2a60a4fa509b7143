//! Error responses of the proxy: HTML for browsers, plain text for other HTTP clients, an alert for TLS.
//!
//! Each ends the connection. Pages load no resources.

use std::fmt::Write as _;

use super::sniff::Protocol;
use super::table::Refusal;

/// The alert `unrecognized_name` (RFC 6066, section 3), fatal, as a record of TLS 1.2.
pub(super) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Reload interval of waiting pages in seconds.
const RELOAD_INTERVAL: u8 = 1;

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    status: u16,
    title: String,
    text: String,
    hint: Option<String>,
    hosts: Vec<(String, bool)>,
    reloads: bool,
}

impl Page {
    /// Creates the page for a refused connection, with the available hosts.
    pub(super) fn refused(reason: Refusal, hosts: Vec<(String, bool)>) -> Self {
        let (status, title, text) = match reason {
            Refusal::Unknown => (404, "No env has this name", "Available names:"),
            Refusal::NoSuchPort => (
                404,
                "This env does not have this port",
                "Envs with this port:",
            ),
            Refusal::Ambiguous => (
                409,
                "Two envs have this name",
                "Two project directories have the same project name. Use the own port of the env: see `lxc-dev-manager ports`.",
            ),
            Refusal::InvalidName => (400, "Invalid host name", "Available names:"),
            Refusal::Foreign => (
                421,
                "This name is not allowed",
                "A page on the web could use it to reach this machine. To allow it, add it to `hosts:` of the env in containers.yaml. Available names:",
            ),
            Refusal::TooLong => (431, "Request head too large", ""),
            Refusal::NoDefaultTarget => (
                503,
                "This port has no default target",
                "Use the name of an env, or run `lxc-dev-manager focus NAME`.",
            ),
        };
        Self {
            status,
            title: title.to_owned(),
            text: text.to_owned(),
            hint: None,
            hosts,
            reloads: false,
        }
    }

    /// Creates the page for an env that is not reachable yet.
    pub(super) fn waiting(host: &str, reason: &str, hint: Option<&str>) -> Self {
        Self {
            status: 503,
            title: format!("Waiting for {host}"),
            text: reason.to_owned(),
            hint: hint.map(str::to_owned),
            hosts: Vec::new(),
            reloads: true,
        }
    }

    /// Creates the page for an incomplete request head.
    pub(super) fn too_slow() -> Self {
        Self {
            status: 408,
            title: "Incomplete request".to_owned(),
            text: String::new(),
            hint: None,
            hosts: Vec::new(),
            reloads: false,
        }
    }

    /// The HTTP status code.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// The bytes of the response; for HTTP/2 only the body.
    pub(super) fn bytes(&self, protocol: Protocol) -> Vec<u8> {
        match protocol {
            Protocol::Http1 { html: true } => {
                self.response("text/html; charset=utf-8", &self.html())
            }
            Protocol::Http1 { html: false } => {
                self.response("text/plain; charset=utf-8", &self.plain())
            }
            Protocol::Http2 => self.plain().into_bytes(),
            Protocol::Tls => UNRECOGNIZED_NAME.to_vec(),
        }
    }

    fn response(&self, kind: &str, body: &str) -> Vec<u8> {
        let phrase = match self.status {
            400 => "Bad Request",
            404 => "Not Found",
            408 => "Request Timeout",
            409 => "Conflict",
            421 => "Misdirected Request",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let mut head = format!(
            "HTTP/1.1 {} {phrase}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n",
            self.status,
            body.len(),
        );
        if self.reloads {
            let _ = write!(head, "Retry-After: {RELOAD_INTERVAL}\r\n");
        }
        format!("{head}\r\n{body}").into_bytes()
    }

    fn plain(&self) -> String {
        let mut text = format!("{}\n", self.title);
        if !self.text.is_empty() {
            let _ = writeln!(text, "{}", self.text);
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{hint}");
        }
        for (host, _) in self.hosts.iter().filter(|(_, here)| *here) {
            let _ = writeln!(text, "http://{host}/");
        }
        text
    }

    fn html(&self) -> String {
        let reload = if self.reloads {
            format!("<meta http-equiv=\"refresh\" content=\"{RELOAD_INTERVAL}\">")
        } else {
            String::new()
        };
        let hint = match &self.hint {
            Some(hint) => format!("<p><small>{}</small></p>", escape(hint)),
            None => String::new(),
        };
        let mut list = String::new();
        for (host, here) in &self.hosts {
            let host = escape(host);
            let _ = if *here {
                write!(list, "<li><a href=\"http://{host}/\">{host}</a></li>")
            } else {
                write!(list, "<li>{host} <small>not on this port</small></li>")
            };
        }
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">{reload}\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>{STYLE}</style><main><h1>{title}</h1><p>{text}</p>{hint}<ul>{list}</ul></main></html>",
            title = escape(&self.title),
            text = escape(&self.text),
        )
    }
}

const STYLE: &str = ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;\
    margin:12vh auto;max-width:36rem;padding:0 1.5rem}h1{font-size:1.25rem;font-weight:600}\
    p,small{opacity:.75}ul{padding:0;list-style:none}a{font-family:ui-monospace,monospace}";

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: &Page, html: bool) -> String {
        String::from_utf8(page.bytes(Protocol::Http1 { html })).unwrap()
    }

    #[test]
    fn page_lists_hosts_and_content_length() {
        let hosts = vec![
            ("dev.web.localhost:5173".to_owned(), true),
            ("db.web.localhost:5173".to_owned(), false),
        ];
        let page = Page::refused(Refusal::Unknown, hosts);
        let html = text(&page, true);
        assert!(html.starts_with("HTTP/1.1 404 Not Found\r\n"), "{html}");
        assert!(
            html.contains("href=\"http://dev.web.localhost:5173/\""),
            "{html}"
        );
        assert!(!html.contains("href=\"http://db"), "{html}");
        let (head, body) = html.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        assert_eq!(
            text(&page, false).lines().last(),
            Some("http://dev.web.localhost:5173/")
        );
    }

    #[test]
    fn waiting_page_reloads_and_escapes_text() {
        let page = Page::waiting(
            "dev.web",
            "<script>alert(1)</script> & \"more\"",
            Some("start it"),
        );
        let html = text(&page, true);
        assert!(html.contains("http-equiv=\"refresh\""), "{html}");
        assert!(html.contains("Retry-After: 1\r\n"), "{html}");
        assert!(!html.contains("<script"), "{html}");
        assert!(
            html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;"),
            "{html}"
        );
    }
}
