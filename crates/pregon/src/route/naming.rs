//! Whether a channel's name can be taken apart again: the one definition for routes, joins, `follow`, endpoints and rules.
//!
//! A name is put together from values. Others take it apart: the section that decides on it, and whoever joins it by claims. A value
//! that contains the text between two parts would be cut there, so that one tenant's row bears another's name. Such a name is not
//! rendered. So two rows, or two tokens, never meet in a name whose parts somebody compares. Pure.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use pregon_capture::query::NamedSql;

use super::RouteError;
use super::expr::{Expr, Kind};
use super::template::{Pattern, Template};
use crate::config::{Channel, Config};

/// Stands for a value that contains no text of any template.
const ANY_VALUE: &str = "\u{10FFFD}";

/// A name that was not rendered. What is displayed tells no value.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the value of `{{{hole}}}` in `{template}` contains a text that {reader} takes apart: use a text between the parts that no value contains"
)]
pub(crate) struct Ambiguous {
    template: Box<str>,
    hole: Box<str>,
    reader: Arc<str>,
    name: Box<str>,
}

impl Ambiguous {
    /// What a client is told whose claim it is.
    pub(crate) fn refusal(&self) -> String {
        format!(
            "the claim `{}` contains a text that separates the parts of a channel's name: a channel of such a name is not joined",
            self.hole
        )
    }

    /// The name that nobody uses. It contains the value: to compare with, and never for a log.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Without the name.
impl std::fmt::Debug for Ambiguous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ambiguous({self})")
    }
}

/// Who takes names apart.
#[derive(Debug)]
struct Reader {
    /// As messages name it: ``[[channel]] `tenant_{t}_{id}` ``.
    place: Arc<str>,
    pattern: Pattern,
    /// For each capture whether it is compared with something.
    compared: Box<[bool]>,
}

impl Reader {
    fn section(channel: &Channel) -> Result<Self, RouteError> {
        let pattern = Pattern::parse(&channel.name)?;
        let compared = Compared::of(channel)?;
        Ok(Self {
            place: format!("[[channel]] `{}`", channel.name).into(),
            compared: pattern.captures().map(|name| compared.has(name)).collect(),
            pattern,
        })
    }

    /// A template; nothing for one that has no parts.
    fn template(place: &str, text: &str) -> Result<Option<Arc<Self>>, RouteError> {
        let template = Template::parse(text)?;
        if template.is_lone() || template.names().next().is_none() {
            return Ok(None);
        }
        let pattern = template.pattern();
        Ok(Some(Arc::new(Self {
            place: format!("{place} `{text}`").into(),
            compared: pattern.captures().map(|_| true).collect(),
            pattern,
        })))
    }

    fn compares(&self) -> bool {
        self.compared.contains(&true)
    }
}

/// The captures that a section's rules look at.
enum Compared {
    All,
    These(Vec<String>),
}

impl Compared {
    fn of(channel: &Channel) -> Result<Self, RouteError> {
        let mut these = Vec::new();
        for text in [&channel.subscribe, &channel.publish].into_iter().flatten() {
            match Expr::compile(text, Kind::Client)?.captures() {
                Some(names) => these.extend(names),
                None => return Ok(Self::All),
            }
        }
        if let Some(sql) = &channel.allow_sql {
            let query = NamedSql::select(sql)?;
            let captures = query
                .names()
                .iter()
                .filter_map(|name| name.strip_prefix("channel."));
            these.extend(captures.map(str::to_owned));
        }
        Ok(Self::These(these))
    }

    fn has(&self, capture: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|name| name == capture),
        }
    }
}

/// Everybody who takes names apart.
#[derive(Debug, Default)]
pub(crate) struct Naming {
    /// In the order of the configuration: the first that fits decides.
    sections: Vec<Arc<Reader>>,
    /// Templates over claims. Who joins by one gets everything that bears the name.
    claims: Vec<Arc<Reader>>,
    /// Templates over rows and messages.
    rows: Vec<Arc<Reader>>,
}

impl Naming {
    /// Reads a checked configuration.
    pub(crate) fn build(config: &Config) -> Result<Self, RouteError> {
        let readers = |place: &str, texts: &mut dyn Iterator<Item = &String>| {
            texts
                .filter_map(|text| Reader::template(place, text).transpose())
                .collect::<Result<Vec<_>, _>>()
        };
        let follow = &mut config.channel.iter().flat_map(|channel| &channel.follow);
        let endpoints = &mut config.endpoint.iter().flat_map(|endpoint| &endpoint.channels);
        let mut claims = readers("[auth] join", &mut config.auth.join.iter())?;
        claims.extend(readers("the `follow`", follow)?);
        claims.extend(readers("[[endpoint]] channel", endpoints)?);
        let rules = config.router.iter().flat_map(|router| &router.rule);
        let published = &mut rules.flat_map(|rule| rule.publish.iter());
        let mut rows = readers(
            "[[route]]",
            &mut config.route.iter().flat_map(|route| route.to.iter()),
        )?;
        rows.extend(readers("[[router.rule]]", published)?);
        Ok(Self {
            sections: config
                .channel
                .iter()
                .map(|channel| Reader::section(channel).map(Arc::new))
                .collect::<Result<_, _>>()?,
            claims,
            rows,
        })
    }

    /// A template over rows or messages, with those who would take its names apart.
    pub(crate) fn rows(&self, template: Template) -> RowName {
        let own = template.pattern();
        if template.is_lone() {
            return RowName::free(template);
        }
        let single = template.names().count() == 1;
        let same = |reader: &Arc<Reader>| single && reader.pattern.is_like(&own);
        let meets = |reader: &&Arc<Reader>| reader.pattern.may_meet(&own);
        let home = self.home(&template).cloned();
        let mut sections = Vec::new();
        for section in self.sections.iter().filter(meets) {
            sections.push(Arc::clone(section));
            if section.pattern.is_like(&own) {
                break; // It fits every name of the template.
            }
        }
        let is_home = |section: &Arc<Reader>| home.as_ref().is_none_or(|home| Arc::ptr_eq(home, section));
        if sections
            .iter()
            .all(|section| same(section) || !section.compares() && is_home(section))
        {
            sections.clear();
        }
        let claims = self.claims.iter().filter(meets).filter(|reader| !same(reader));
        RowName {
            claims: claims.cloned().collect(),
            sections: sections.into(),
            home,
            template,
        }
    }

    /// Renders a template over claims. `None` when a claim is missing or empty.
    pub(crate) fn claims<'v>(
        &self,
        template: &Template,
        value: &dyn Fn(&str) -> Option<Cow<'v, str>>,
    ) -> Result<Option<String>, Ambiguous> {
        let Some((text, values)) = template.render_spans(value) else {
            return Ok(None);
        };
        if template.is_lone() {
            // Whoever signs the token names the channel.
            return Ok(Some(text));
        }
        let name = Name {
            template,
            text: &text,
            values: &values,
        };
        if let Some(value) = name.misread() {
            return Err(name.ambiguous(value, &"the template itself".into()));
        }
        let mut others = self.claims.iter().chain(&self.rows);
        judge(&name, &self.sections, &mut others, &|| self.home(template))?;
        Ok(Some(text))
    }

    /// Whether somebody compares parts of the names that a template renders.
    pub(crate) fn is_compared(&self, template: &Template) -> bool {
        let own = template.pattern();
        self.home(template).is_some_and(|section| section.compares())
            || self.claims.iter().any(|reader| reader.pattern.is_like(&own))
    }

    /// The section that decides on a template's names while no value contains a text of a template.
    fn home(&self, template: &Template) -> Option<&Arc<Reader>> {
        let name = template.render(&|_| Some(Cow::Borrowed(ANY_VALUE)))?;
        self.sections
            .iter()
            .find(|section| section.pattern.is_match(&name))
    }
}

/// See [`Naming::rows`].
#[derive(Debug, Clone)]
pub(crate) struct RowName {
    template: Template,
    sections: Box<[Arc<Reader>]>,
    claims: Box<[Arc<Reader>]>,
    home: Option<Arc<Reader>>,
}

impl RowName {
    /// A template whose texts nobody takes apart.
    pub(crate) fn free(template: Template) -> Self {
        Self {
            template,
            sections: Box::default(),
            claims: Box::default(),
            home: None,
        }
    }

    pub(crate) fn template(&self) -> &Template {
        &self.template
    }

    /// Renders it. `None` when a value is missing or empty.
    pub(crate) fn render<'v>(
        &self,
        value: &dyn Fn(&str) -> Option<Cow<'v, str>>,
    ) -> Result<Option<String>, Ambiguous> {
        if self.sections.is_empty() && self.claims.is_empty() {
            return Ok(self.template.render(value));
        }
        let Some((text, values)) = self.template.render_spans(value) else {
            return Ok(None);
        };
        let name = Name {
            template: &self.template,
            text: &text,
            values: &values,
        };
        judge(&name, &self.sections, &mut self.claims.iter(), &|| {
            self.home.as_ref()
        })?;
        Ok(Some(text))
    }
}

/// A name, and where its values lie in it.
struct Name<'n> {
    template: &'n Template,
    text: &'n str,
    values: &'n [Range<usize>],
}

impl Name<'_> {
    /// The value inside of which one of these begins or ends.
    fn cut<'c>(&self, captures: impl Iterator<Item = &'c Range<usize>>) -> Option<usize> {
        let inside = |edge: usize| {
            let mut values = self.values.iter();
            values.position(|value| value.start < edge && edge < value.end)
        };
        captures
            .flat_map(|capture| [capture.start, capture.end])
            .find_map(inside)
    }

    /// Whether one of these holds several values: their own borders are then the template's alone.
    fn is_mixed<'c>(&self, mut captures: impl Iterator<Item = &'c Range<usize>>) -> bool {
        captures.any(|capture| {
            let within = |value: &&Range<usize>| capture.start <= value.start && value.end <= capture.end;
            self.values.iter().filter(within).count() > 1
        })
    }

    /// The first value that the template itself would find elsewhere.
    fn misread(&self) -> Option<usize> {
        if self.values.len() < 2 {
            return None;
        }
        let own = self.template.pattern().spans(self.text).unwrap_or_default();
        let mut values = self.values.iter().enumerate();
        values.position(|(place, value)| own.get(place) != Some(value))
    }

    /// Whether a reader finds the values as they are.
    fn check<'c>(
        &self,
        reader: &Reader,
        captures: impl Iterator<Item = &'c Range<usize>> + Clone,
    ) -> Result<(), Ambiguous> {
        let value = match self.cut(captures.clone()) {
            None if self.is_mixed(captures) => self.misread(),
            cut => cut,
        };
        value.map_or(Ok(()), |value| Err(self.ambiguous(value, &reader.place)))
    }

    fn ambiguous(&self, value: usize, reader: &Arc<str>) -> Ambiguous {
        Ambiguous {
            template: self.template.source().into(),
            hole: self.template.names().nth(value).unwrap_or_default().into(),
            reader: Arc::clone(reader),
            name: self.text.into(),
        }
    }
}

/// Whether everybody who takes a name apart finds its values as they are.
fn judge<'r>(
    name: &Name<'_>,
    sections: &[Arc<Reader>],
    others: &mut dyn Iterator<Item = &'r Arc<Reader>>,
    home: &dyn Fn() -> Option<&'r Arc<Reader>>,
) -> Result<(), Ambiguous> {
    let fits = |section: &'_ Arc<Reader>| section.pattern.spans(name.text);
    if let Some((section, captures)) = sections
        .iter()
        .find_map(|section| Some((section, fits(section)?)))
    {
        let compared = captures.iter().zip(&section.compared);
        name.check(section, compared.filter(|(_, yes)| **yes).map(|(span, _)| span))?;
        // A section that compares nothing hurts nobody, unless a part of a value has chosen it in the place of another.
        if let Some(value) = name.cut(captures.iter())
            && home().is_some_and(|home| !Arc::ptr_eq(home, section))
        {
            return Err(name.ambiguous(value, &section.place));
        }
    }
    for reader in others {
        if let Some(captures) = fits(reader) {
            name.check(reader, captures.iter())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use std::collections::HashMap;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn naming(toml: &str) -> Naming {
        let config = crate::check::parse(toml, "pregon.toml", Path::new("."), &|_| None);
        Naming::build(&config.unwrap_or_else(|problems| panic!("{problems}"))).unwrap()
    }

    fn section(name: &str, rule: &str) -> String {
        format!("[[channel]]\nname = \"{name}\"\n{rule}\n")
    }

    fn with<'v>(values: &'v [(&'v str, &'v str)]) -> impl Fn(&str) -> Option<Cow<'v, str>> {
        move |hole| {
            let found = values.iter().find(|(name, _)| *name == hole);
            found.map(|(_, value)| Cow::Borrowed(*value))
        }
    }

    fn row(naming: &Naming, template: &str, values: &[(&str, &str)]) -> Result<Option<String>, Ambiguous> {
        naming
            .rows(Template::parse(template).unwrap())
            .render(&with(values))
    }

    fn claims(naming: &Naming, template: &str, values: &[(&str, &str)]) -> Result<Option<String>, Ambiguous> {
        naming.claims(&Template::parse(template).unwrap(), &with(values))
    }

    const OF_TENANT: &str = "subscribe = \"channel.t == claims.tenant\"";

    #[test]
    fn a_compared_part_is_a_whole_value() {
        let naming = naming(&section("tenant_{t}_{id}", OF_TENANT));
        let of = |t, id| row(&naming, "tenant_{x}_{y}", &[("x", t), ("y", id)]);
        assert_eq!(of("a", "b_7").unwrap().unwrap(), "tenant_a_b_7");
        let refused = of("a_b", "7").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the value of `{x}` in `tenant_{x}_{y}` contains a text that [[channel]] `tenant_{t}_{id}` takes apart: \
             use a text between the parts that no value contains"
        );
        assert!(!format!("{refused:?}").contains("a_b"));
        assert_eq!(of("", "7").unwrap(), None);
        assert!(row(&naming, "tenant_{x}", &[("x", "a_7")]).is_err());
        // Who renders the name whole says itself where its parts are.
        assert!(row(&naming, "{x}", &[("x", "tenant_a_b_7")]).is_ok());
    }

    #[test]
    fn only_compared_parts_matter() {
        let naming = naming(&section("tenant_{t}_{kind}_{id}", OF_TENANT));
        let of = |t, kind| row(&naming, "tenant_{x}_{y}_7", &[("x", t), ("y", kind)]);
        assert!(of("a", "big_order").is_ok());
        assert!(of("a_b", "order").is_err());
        let open = self::naming(&section("tenant_{t}_{id}", "subscribe = \"claims.ok\""));
        assert!(row(&open, "tenant_{x}_{y}", &[("x", "a_b"), ("y", "7")]).is_ok());
    }

    #[test]
    fn a_part_of_two_values_is_compared_where_these_can_be_told_apart() {
        let naming = naming(
            &section(
                "room_{name}",
                "allow_sql = \"SELECT :channel.name = :claims.x\"\n",
            )
            .replace(
                "[[channel]]",
                "[postgres]\nurl = \"postgres://x@localhost/x\"\n[[channel]]",
            ),
        );
        let of = |kind, id| row(&naming, "room_{kind}_{id}", &[("kind", kind), ("id", id)]);
        assert!(of("big", "room_4").is_ok());
        assert!(of("big_room", "4").is_err());
        assert!(row(&naming, "room_{a}{b}", &[("a", "1"), ("b", "2")]).is_err());
        assert!(row(&naming, "room_{a}_x", &[("a", "1_2")]).is_ok());
    }

    #[test]
    fn a_section_is_not_chosen_by_a_part_of_a_value() {
        let sections = section("tenant_public_{id}", "") + &section("tenant_{t}_{id}", OF_TENANT);
        let naming = naming(&sections);
        let of = |t| row(&naming, "tenant_{x}_{y}", &[("x", t), ("y", "7")]);
        assert!(of("public").is_ok());
        assert!(of("public_x").is_err());
    }

    #[test]
    fn claims_join_no_name_that_a_route_or_another_claim_takes_apart() {
        let naming = naming(
            "[auth]\nsecret = \"s\"\njoin = [\"user_{sub}\", \"user_{sub}_of_{area}\", \"{room}\"]\n[postgres]\nurl = \"postgres://x@localhost/x\"\n[[listen]]\nchannel = \"c\"\n\
             [[route]]\nfrom = \"c\"\nto = [\"user_{id}_admin\", \"user_{id}\"]\n",
        );
        let sub = |sub| claims(&naming, "user_{sub}", &[("sub", sub)]);
        assert!(sub("ana_maria").is_ok());
        assert!(sub("1_admin").is_err());
        assert!(sub("1_of_x").is_err());
        assert!(claims(&naming, "{room}", &[("room", "user_1_admin")]).is_ok());
        let area = |sub, area| claims(&naming, "user_{sub}_of_{area}", &[("sub", sub), ("area", area)]);
        assert!(area("1", "x_of_y").is_ok());
        assert!(area("1_of_x", "y").is_err());
        assert!(area("1", "x_admin").is_err());
        // A row's value is not taken for two claims either.
        assert!(row(&naming, "user_{id}", &[("id", "1_of_x")]).is_err());
        assert!(row(&naming, "user_{id}", &[("id", "1_x")]).is_ok());
    }

    /// Values of few letters and separators, so that they meet often.
    fn value() -> impl Strategy<Value = String> {
        "[ab_:]{1,4}"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// What is rendered is taken apart into the same values, and two rows never meet in one name.
        #[test]
        fn what_is_compared_is_what_was_rendered(
            texts in prop::collection::vec("[_:]{1,2}", 2),
            first in prop::collection::vec(value(), 3),
            second in prop::collection::vec(value(), 3),
        ) {
            let name = format!("p{{x}}{}{{y}}{}{{z}}", texts[0], texts[1]);
            let rule = "subscribe = \"channel.x == claims.x && channel.y == claims.y && channel.z == claims.z\"";
            let naming = naming(&section(&name, rule));
            let pattern = Pattern::parse(&name).unwrap();
            let mut names = HashMap::new();
            for values in [&first, &second] {
                let pairs = [("x", &*values[0]), ("y", &*values[1]), ("z", &*values[2])];
                let captured = |text: &str| {
                    pattern.matches(text).is_some_and(|found| found.iter().zip(pairs).all(|((_, a), (_, b))| *a == b))
                };
                let plain = Template::parse(&name).unwrap().render(&with(&pairs)).unwrap();
                let rendered = row(&naming, &name, &pairs);
                prop_assert_eq!(rendered.is_ok(), captured(&plain), "{}", plain);
                prop_assert_eq!(claims(&naming, &name, &pairs).is_ok(), captured(&plain), "{}", plain);
                if let Ok(Some(text)) = rendered {
                    let other = names.insert(text, values.clone());
                    prop_assert!(other.is_none_or(|other| other == *values));
                }
            }
        }

        /// Whatever templates and sections there are: a compared capture begins and ends where values do, and rows that
        /// are compared by one capture meet in no name.
        #[test]
        fn no_compared_capture_cuts_a_value(
            section_text in "[ab_:]{0,2}", texts in prop::collection::vec("[ab_:]{1,2}", 2),
            captures in prop::collection::vec("[_:]{1,2}", 0..2),
            first in prop::collection::vec(value(), 2), second in prop::collection::vec(value(), 2),
        ) {
            let mut name = format!("{section_text}{{c0}}");
            for (place, text) in captures.iter().enumerate() {
                name.push_str(&format!("{text}{{c{}}}", place + 1));
            }
            let naming = naming(&section(&name, "subscribe = \"channel.exists(c, channel[c] == claims.sub)\""));
            let pattern = Pattern::parse(&name).unwrap();
            let template = Template::parse(&format!("{}{{x}}{}{{y}}", texts[0], texts[1])).unwrap();
            let mut names = HashMap::new();
            for values in [&first, &second] {
                let pairs = [("x", &*values[0]), ("y", &*values[1])];
                let (plain, spans) = template.render_spans(&with(&pairs)).unwrap();
                let Ok(Some(text)) = naming.rows(template.clone()).render(&with(&pairs)) else { continue };
                prop_assert_eq!(&text, &plain);
                let Some(read) = pattern.spans(&text) else { continue };
                for edge in read.iter().flat_map(|span| [span.start, span.end]) {
                    prop_assert!(spans.iter().all(|value| edge <= value.start || value.end <= edge), "{} by {}", text, name);
                }
                let mixed = read.iter().any(|capture| spans.iter().all(|value| capture.start <= value.start && value.end <= capture.end));
                if mixed && let Some(other) = names.insert(text, values.clone()) {
                    prop_assert_eq!(&other, values);
                }
            }
        }
    }
}
