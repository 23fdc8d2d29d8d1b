//! Which web pages may use a cookie or read answers: the allow-list of origins, and the headers that say so.

/// The origin of pages of `file:`, of sandboxed frames and of `data:` addresses.
pub(crate) const NULL: &str = "null";

/// The configured origins.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    any: bool,
    list: Vec<String>,
}

impl Origins {
    pub(crate) fn new(list: &[String]) -> Self {
        let any = list.iter().any(|origin| origin == "*");
        let list = list
            .iter()
            .map(|origin| origin.trim_end_matches('/').to_ascii_lowercase())
            .collect();
        Self { any, list }
    }

    /// Whether a request that carries a cookie may be believed. A wildcard is not enough: any page could then act as its visitor.
    /// Nor is `null`: any page can make a frame of that origin.
    pub(crate) fn allows(&self, origin: Option<&str>) -> bool {
        origin.is_some_and(|origin| origin != NULL && self.lists(origin))
    }

    fn lists(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.list.contains(&origin)
    }

    /// The CORS headers for a request of `origin`; none if it may not read the answer.
    pub(crate) fn cors(&self, origin: Option<&str>) -> Vec<(&'static str, String)> {
        let Some(origin) = origin else { return Vec::new() };
        if self.allows(Some(origin)) {
            return vec![
                ("Access-Control-Allow-Origin", origin.to_owned()),
                ("Access-Control-Allow-Credentials", "true".to_owned()),
                ("Vary", "Origin".to_owned()),
            ];
        }
        if self.any {
            return vec![("Access-Control-Allow-Origin", "*".to_owned())];
        }
        if origin == NULL && self.lists(NULL) {
            return vec![
                ("Access-Control-Allow-Origin", NULL.to_owned()),
                ("Vary", "Origin".to_owned()),
            ];
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_wildcard_reads_but_brings_no_cookies() {
        let origins = Origins::new(&["*".into(), "https://tienda.example".into()]);
        assert!(!origins.allows(Some("https://evil.example")));
        assert!(origins.allows(Some("https://Tienda.example")));
        assert!(!origins.allows(None));
        assert_eq!(
            origins.cors(Some("https://evil.example")),
            [("Access-Control-Allow-Origin", "*".to_owned())]
        );
        assert_eq!(origins.cors(Some("https://tienda.example")).len(), 3);
        assert!(Origins::new(&[]).cors(Some("https://evil.example")).is_empty());
    }

    #[test]
    fn pages_without_an_origin_may_read_where_they_are_named_and_bring_no_cookies() {
        let origins = Origins::new(&["null".into()]);
        assert!(!origins.allows(Some("null")));
        assert_eq!(
            origins.cors(Some("null"))[0],
            ("Access-Control-Allow-Origin", "null".to_owned())
        );
        assert_eq!(origins.cors(Some("null")).len(), 2);
        assert!(Origins::new(&[]).cors(Some("null")).is_empty());
    }
}
