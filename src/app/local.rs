//! A place on this site that a browser may be sent to: from `next=` and `Referer`, which anybody can write.

use std::fmt;

/// Path and query on this site. Only visible ASCII, one leading slash, no backslash: neither a browser nor a header can
/// take it for anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPath(String);

impl LocalPath {
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.len() <= 2_000 && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let is_local = text.starts_with('/') && !text.starts_with("//");
        (is_plain && is_local).then(|| Self(text.to_owned()))
    }

    /// Of a `Referer`, if it names this host.
    pub fn of_referer(referer: &str, host: &str) -> Option<Self> {
        let rest = referer.strip_prefix("https://").or_else(|| referer.strip_prefix("http://"))?;
        let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
        if authority != host {
            return None;
        }
        let path = &rest[authority.len()..];
        Self::parse(path.split_once('#').map_or(path, |(path, _)| path))
    }

    pub fn root() -> Self {
        Self("/".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The log-in page that comes back here.
    pub fn after_login(&self) -> String {
        let next: String = url::form_urlencoded::byte_serialize(self.0.as_bytes()).collect();
        if self.0 == "/" { "/login".to_owned() } else { format!("/login?next={next}") }
    }
}

impl fmt::Display for LocalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_on_this_site_are_taken() {
        for text in ["/", "/projects/demo?before=3", "/projects/demo/activities/0123"] {
            assert!(LocalPath::parse(text).is_some(), "{text}");
        }
        for text in
            ["", "projects", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nSet-Cookie: a", "/ä"]
        {
            assert!(LocalPath::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_referer_counts_only_from_this_host() {
        let path =
            LocalPath::of_referer("http://localhost:4180/tokens?a=1#b", "localhost:4180").expect("the same host");
        assert_eq!(path.as_str(), "/tokens?a=1");
        for referer in
            ["http://evil.example/tokens", "http://localhost:41800/", "localhost:4180/tokens", "ftp://localhost:4180/"]
        {
            assert_eq!(LocalPath::of_referer(referer, "localhost:4180"), None, "{referer}");
        }
    }

    #[test]
    fn the_way_back_is_encoded() {
        let path = LocalPath::parse("/projects/demo?before=3&x=y").expect("local");
        assert_eq!(path.after_login(), "/login?next=%2Fprojects%2Fdemo%3Fbefore%3D3%26x%3Dy");
    }
}
