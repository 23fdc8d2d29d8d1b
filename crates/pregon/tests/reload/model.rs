//! Random steps of rights with a model beside: whoever hears something may hear it, and whoever may hear it does.
//!
//! 1,000 steps in the suite; `PREGON_RIGHTS_STEPS` and `PREGON_RIGHTS_SEED` choose others.

use std::collections::BTreeSet;

use pregon_testkit::{Database, Node, http};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::anyone::{Anyone, Kind};
use super::{MEMBERS, OPEN, begin_reload, held, members, questions_wait, reload, ruled};
use crate::support::{in_seconds, node_on, publish, token};

const SUBS: [&str; 3] = ["ana", "eva", "lia"];
const CHANNELS: usize = 4;

/// Five configurations, and what each of them means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Open,
    Claims,
    Members,
    Strict,
    Closed,
}

impl Rule {
    const ALL: [Self; 5] = [
        Self::Open,
        Self::Claims,
        Self::Members,
        Self::Strict,
        Self::Closed,
    ];

    fn config(self) -> String {
        match self {
            Self::Open => OPEN.to_owned(),
            Self::Claims => ruled("subscribe = \"claims.sub != 'eva' || channel.id == '0'\""),
            Self::Members => ruled(MEMBERS),
            Self::Strict => {
                let strict = MEMBERS.replace("= :claims.sub", "= :claims.sub AND level > 1");
                ruled(&format!("subscribe = \"channel.id != '3'\"\n{strict}"))
            }
            Self::Closed => ruled("subscribe = \"false\""),
        }
    }

    fn allows(self, rows: &BTreeSet<(usize, usize, i32)>, channel: usize, sub: usize) -> bool {
        let member = |least: i32| {
            rows.iter()
                .any(|(c, s, level)| (*c, *s) == (channel, sub) && *level >= least)
        };
        match self {
            Self::Open => true,
            Self::Claims => SUBS[sub] != "eva" || channel == 0,
            Self::Members => member(1),
            Self::Strict => channel != 3 && member(2),
            Self::Closed => false,
        }
    }
}

/// A client, and the channels that the model says it follows.
struct Someone {
    sub: usize,
    anyone: Anyone,
    follows: BTreeSet<usize>,
}

struct World<'a> {
    node: Node,
    database: &'a Database<'a>,
    random: StdRng,
    rule: Rule,
    rows: BTreeSet<(usize, usize, i32)>,
    people: Vec<Someone>,
    said: u64,
}

fn name(channel: usize) -> String {
    format!("c_{channel}")
}

impl World<'_> {
    fn allows(&self, channel: usize, sub: usize) -> bool {
        self.rule.allows(&self.rows, channel, sub)
    }

    async fn newcomer(&mut self) -> Someone {
        let kind = *Kind::ALL.choose(&mut self.random).unwrap();
        let sub = self.random.random_range(0..SUBS.len());
        Someone {
            sub,
            anyone: Anyone::open(&self.node, kind, SUBS[sub]).await,
            follows: BTreeSet::new(),
        }
    }

    async fn step(&mut self) {
        let who = self.random.random_range(0..self.people.len());
        let channel = self.random.random_range(0..CHANNELS);
        match self.random.random_range(0..20) {
            0..6 => self.follow(who, channel).await,
            6..9 => self.publish_everywhere().await,
            9..12 => self.change_rows(channel).await,
            12 => self.people[who] = self.newcomer().await,
            13..15 => self.ask_http(channel).await,
            15..17 => self.fresh_token(who).await,
            17..19 => self.reload().await,
            _ => self.follow_during_a_reload(channel).await,
        }
    }

    async fn follow(&mut self, who: usize, channel: usize) {
        let allowed = self.allows(channel, self.people[who].sub);
        let someone = &mut self.people[who];
        // A refused stream leaves the one before as it was, and one that is granted brings its other channels with it.
        let whole = matches!(someone.anyone.kind(), Kind::Bare | Kind::Sse);
        if whole && someone.follows.contains(&channel) {
            return;
        }
        let granted = someone.anyone.follow(&self.node, &name(channel)).await;
        let sse = someone.anyone.kind() == Kind::Sse;
        let others = someone.follows.clone();
        if sse {
            let all = others
                .iter()
                .all(|other| self.rule.allows(&self.rows, *other, someone.sub));
            assert_eq!(
                granted,
                allowed && all,
                "sse {} in {:?}",
                name(channel),
                self.rule
            );
            if granted {
                someone.follows.insert(channel);
            }
            return;
        }
        assert_eq!(
            granted,
            allowed,
            "{:?} {} in {:?}",
            someone.anyone.kind(),
            name(channel),
            self.rule
        );
        if granted {
            someone.follows.insert(channel);
        } else {
            someone.follows.remove(&channel);
        }
        if self.people[who].anyone.is_closed() {
            self.people[who] = self.newcomer().await;
        }
    }

    /// Every channel gets an event; then everybody has heard what they follow and nothing else.
    async fn publish_everywhere(&mut self) {
        let mut said = Vec::new();
        for channel in 0..CHANNELS {
            self.said += 1;
            publish(&self.node, &name(channel), "x", json!(self.said)).await;
            said.push((channel, json!(self.said)));
        }
        for who in 0..self.people.len() {
            let someone = &mut self.people[who];
            let heard = someone.anyone.heard(&self.node).await;
            let due: Vec<Value> = said
                .iter()
                .filter(|(channel, _)| someone.follows.contains(channel))
                .map(|(_, data)| data.clone())
                .collect();
            assert_eq!(
                heard,
                due,
                "{:?} {} in {:?}",
                someone.anyone.kind(),
                SUBS[someone.sub],
                self.rule
            );
        }
    }

    async fn change_rows(&mut self, channel: usize) {
        let sub = self.random.random_range(0..SUBS.len());
        let level = self.random.random_range(1..3);
        self.rows.retain(|(c, s, _)| (*c, *s) != (channel, sub));
        let mut sql = format!(
            "DELETE FROM members WHERE channel = '{channel}' AND member = '{}'",
            SUBS[sub]
        );
        if self.random.random_bool(0.6) {
            self.rows.insert((channel, sub, level));
            sql = format!(
                "{sql}; INSERT INTO members VALUES ('{channel}', '{}', {level})",
                SUBS[sub]
            );
        }
        self.database.execute(&sql).await.unwrap();
    }

    /// History and presence are for those who may follow.
    async fn ask_http(&mut self, channel: usize) {
        for (sub, name) in SUBS.iter().enumerate() {
            for path in ["history", "presence"] {
                let token = token(&json!({ "sub": name }));
                let url = format!("/api/{path}?channel=c_{channel}&token={token}");
                let status = http::get(&self.node.url(&url)).await.unwrap().status();
                let expected = if self.allows(channel, sub) { 200 } else { 403 };
                assert_eq!(status, expected, "{path} of {name} in {:?}", self.rule);
            }
        }
    }

    async fn fresh_token(&mut self, who: usize) {
        let kind = self.people[who].anyone.kind();
        if kind != Kind::Full {
            return;
        }
        let sub = self.random.random_range(0..SUBS.len());
        let fresh = token(&json!({"sub": SUBS[sub], "exp": in_seconds(3600)}));
        self.people[who].anyone.refresh(&fresh).await;
        self.people[who].sub = sub;
        self.forget_what_is_not_allowed(who);
    }

    /// A question has been asked for everything that someone follows.
    fn forget_what_is_not_allowed(&mut self, who: usize) -> bool {
        let (rule, rows) = (self.rule, self.rows.clone());
        let someone = &mut self.people[who];
        let (before, sub) = (someone.follows.len(), someone.sub);
        someone
            .follows
            .retain(|channel| rule.allows(&rows, *channel, sub));
        someone.follows.len() < before
    }

    async fn reload(&mut self) {
        self.rule = *Rule::ALL.choose(&mut self.random).unwrap();
        reload(&mut self.node, &self.rule.config()).await;
        self.after_reload().await;
    }

    async fn after_reload(&mut self) {
        for who in 0..self.people.len() {
            let lost = self.forget_what_is_not_allowed(who);
            // Neither has words for one channel of several.
            if lost && matches!(self.people[who].anyone.kind(), Kind::Bare | Kind::Sse) {
                self.people[who] = self.newcomer().await;
            }
        }
    }

    /// The database holds back its answer to a subscribe until another configuration is in force.
    async fn follow_during_a_reload(&mut self, channel: usize) {
        if !matches!(self.rule, Rule::Members) {
            return;
        }
        let Some(who) = self.people.iter().position(|someone| {
            !matches!(someone.anyone.kind(), Kind::Sse | Kind::Bare) && !someone.follows.contains(&channel)
        }) else {
            return;
        };
        let holder = held(self.database).await;
        self.people[who]
            .anyone
            .begin_follow(&self.node, &name(channel))
            .await;
        questions_wait(self.database, 1).await;
        self.rule = *[Rule::Open, Rule::Claims, Rule::Closed]
            .choose(&mut self.random)
            .unwrap();
        begin_reload(&mut self.node, &self.rule.config()).await;
        holder.batch_execute("COMMIT").await.unwrap();
        let granted = self.people[who].anyone.followed(&name(channel)).await;
        assert_eq!(
            granted,
            self.allows(channel, self.people[who].sub),
            "under way in {:?}",
            self.rule
        );
        if granted {
            self.people[who].follows.insert(channel);
        }
        reload(&mut self.node, &self.rule.config()).await;
        self.after_reload().await;
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[tokio::test]
async fn random_steps_leak_nothing_and_refuse_nobody_wrongly() {
    let steps = from_environment("PREGON_RIGHTS_STEPS", 1_000);
    let seed = from_environment("PREGON_RIGHTS_SEED", rand::random::<u32>().into());
    eprintln!("PREGON_RIGHTS_SEED={seed} PREGON_RIGHTS_STEPS={steps}");
    let database = members().await;
    let mut world = World {
        node: node_on(&database, OPEN).await,
        database: &database,
        random: StdRng::seed_from_u64(seed),
        rule: Rule::Open,
        rows: BTreeSet::new(),
        people: Vec::new(),
        said: 0,
    };
    for _ in 0..8 {
        let newcomer = world.newcomer().await;
        world.people.push(newcomer);
    }
    for _ in 0..steps {
        world.step().await;
    }
    world.publish_everywhere().await;
}
