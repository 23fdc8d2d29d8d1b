//! Which web pages may use a cookie or read answers: the allow-list of origins, and the headers that say so.

/// The configured origins.
#[derive(Debug, Clone)]
pub struct Origins {
    any: bool,
    list: Vec<String>,
}

impl Origins {
    pub fn new(list: &[String]) -> Self {
        let any = list.iter().any(|origin| origin == "*");
        let list = list
            .iter()
            .map(|origin| origin.trim_end_matches('/').to_ascii_lowercase())
            .collect();
        Self { any, list }
    }

    /// Whether a request that carries a cookie may be believed. A wildcard is not enough: any page could then act as its visitor.
    pub fn allows(&self, origin: Option<&str>) -> bool {
        origin.is_some_and(|origin| {
            self.list
                .iter()
                .any(|known| *known == origin.to_ascii_lowercase())
        })
    }

    /// The CORS headers for a request of `origin`; none if it may not read the answer.
    pub fn cors(&self, origin: Option<&str>) -> Vec<(&'static str, String)> {
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
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
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
}
