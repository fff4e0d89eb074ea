//! The status page: a few files, the same for everyone. What it shows it asks the admin port for.

use http::{HeaderValue, Response, header};
use wisp_chassis::admin::{self, Body};

/// Nothing from elsewhere, and no script or style in the page itself: names and log lines of guests cannot become code.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The answer for a path of the page.
pub(crate) fn respond(path: &str) -> Option<Response<Body>> {
    let (content_type, content) = content(path)?;
    let mut response = admin::body(content_type, content);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Another version of the program may answer at the same address a moment later.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(response)
}

fn content(path: &str) -> Option<(&'static str, &'static str)> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    Some(match path {
        "/" => ("text/html; charset=utf-8", include_str!("index.html")),
        "/page.css" => ("text/css; charset=utf-8", include_str!("page.css")),
        "/favicon.svg" => ("image/svg+xml", include_str!("favicon.svg")),
        "/page.js" => (SCRIPT, include_str!("page.js")),
        "/detail.js" => (SCRIPT, include_str!("detail.js")),
        "/dom.js" => (SCRIPT, include_str!("dom.js")),
        "/functions.js" => (SCRIPT, include_str!("functions.js")),
        "/history.js" => (SCRIPT, include_str!("history.js")),
        "/logs.js" => (SCRIPT, include_str!("logs.js")),
        "/starts.js" => (SCRIPT, include_str!("starts.js")),
        "/timeline.js" => (SCRIPT, include_str!("timeline.js")),
        "/words.js" => (SCRIPT, include_str!("words.js")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_all_that_it_names_are_there() {
        let mut paths = vec!["/", "/page.js", "/page.css", "/favicon.svg"];
        let imports =
            |path| content(path).unwrap().1.lines().filter_map(|line| line.split_once("from \".")?.1.split('"').next());
        paths.extend(["/page.js", "/detail.js", "/functions.js", "/timeline.js"].into_iter().flat_map(imports));
        for path in paths {
            let response = respond(path).unwrap();
            assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], POLICY, "{path}");
        }
        assert!(respond("/page.html").is_none() && respond("/api/overview").is_none());
    }

    #[test]
    fn nothing_in_the_page_would_break_its_own_policy() {
        let html = include_str!("index.html");
        for inline in ["<style", " style=", " onclick=", "javascript:", "://"] {
            assert!(!html.contains(inline), "{inline}");
        }
        assert_eq!(html.matches("<script").count(), html.matches("<script src=").count());
    }
}
