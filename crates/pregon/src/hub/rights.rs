//! Rights that change while a session lives: with a fresh token, or with a new configuration.
//!
//! After a reload every session is held against the new rights, some connections in each round so that nobody waits for it. What the
//! claims alone decide takes effect at once; where the database decides, the session is in doubt until the desk has asked, and loses
//! the channel if the answer is no. A fresh token is answered when all that was asked because of it is known.

use std::sync::Arc;

use hashbrown::HashMap;
use pregon_wire::codes;
use pregon_wire::codes::Code;
use pregon_wire::socketio::room;

use super::Key;
use super::conn::Conn;
use super::shard::Shard;
use crate::desk::{Doubt, Round};
use crate::metrics::Reason;
use crate::route::grant::{Decision, Rights, SqlQuestion};
use crate::route::naming::Ambiguous;
use crate::session::Session;
use crate::session::answer::NOT_YOU;
use crate::session::channels::ChannelKey;
use crate::session::command::{Ask, Asked, Question, Reply, Then};

/// Places of connections that are looked at in one round.
const PAGE: usize = 64;

/// New rights, and how far a shard has come with them.
pub(super) struct Walk {
    round: Arc<Round>,
    next: usize,
}

/// Those who wait for one answer of the database.
pub(super) struct Followers(Vec<Follower>);

/// A session that follows a channel.
type Place = (Key, u8, ChannelKey);

struct Follower {
    place: Place,
    number: u64,
}

/// The doubts of a shard, each with a number: the answer to an earlier question is not that to a later one.
#[derive(Default)]
pub(super) struct Doubts {
    raised: u64,
    open: HashMap<Place, u64>,
}

impl Doubts {
    fn raise(&mut self, place: Place) -> Follower {
        self.raised += 1;
        self.open.insert(place, self.raised);
        Follower {
            place,
            number: self.raised,
        }
    }

    /// Whether this is the doubt that is open; it is no longer.
    fn settle(&mut self, follower: &Follower) -> bool {
        let open = self.open.get(&follower.place) == Some(&follower.number);
        if open {
            self.open.remove(&follower.place);
        }
        open
    }

    /// The session follows the channel by a right of now, or no longer.
    pub(super) fn forget(&mut self, key: Key, namespace: u8, channel: ChannelKey) {
        if !self.open.is_empty() {
            self.open.remove(&(key, namespace, channel));
        }
    }
}

/// Why a session loses a channel.
#[derive(Clone, Copy)]
enum Why {
    Denied,
    /// The application took it.
    Taken,
    /// Nobody can say whether it still may.
    Unknown,
}

impl Shard {
    /// Rights have changed, or may have: everybody is held against them, from the next round on.
    pub(super) fn recheck(&mut self, round: Arc<Round>) {
        if self.walk.is_some() && !round.is_reload() {
            // One is under way: the next period asks again.
            return;
        }
        let before = self.walk.replace(Walk { round, next: 0 });
        if let Some(before) = before {
            before.round.give_way();
        }
    }

    /// Holds the next connections against the new rights.
    pub(super) fn walk(&mut self) {
        let Some(mut walk) = self.walk.take() else { return };
        let end = walk.next + PAGE;
        let sessions: Vec<(Key, u8)> = self
            .conns
            .page(walk.next..end)
            .flat_map(|conn| conn.sessions.iter().map(|session| (conn.key, session.namespace)))
            .collect();
        let mut doubts: HashMap<Vec<SqlQuestion>, Vec<Follower>> = HashMap::new();
        walk.round.looked_at(sessions.len());
        for (key, namespace) in sessions {
            for (channel, questions) in self.hold(key, namespace, &walk.round) {
                if let Some(channel) = self.subscriptions.channels.find(&channel) {
                    let follower = self.subscriptions.doubts.raise((key, namespace, channel));
                    doubts.entry(questions).or_default().push(follower);
                }
            }
        }
        if !doubts.is_empty() {
            let doubts = doubts
                .into_iter()
                .map(|(questions, followers)| Doubt {
                    questions,
                    of: Followers(followers),
                })
                .collect();
            self.ask_again(Arc::clone(&walk.round), doubts);
        }
        if end < self.conns.places() {
            walk.next = end;
            self.walk = Some(walk);
        }
    }

    /// Takes away what the claims do not grant; gives back what the database has to decide.
    fn hold(&mut self, key: Key, namespace: u8, round: &Round) -> Vec<(Arc<str>, Vec<SqlQuestion>)> {
        let Some(conn) = self.conns.get(key) else {
            return Vec::new();
        };
        let Some(session) = conn.session(namespace) else {
            return Vec::new();
        };
        let (mut lost, mut asked, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let granted = self.granted(conn, session, &round.rights);
        for name in granted.into_iter().filter(|name| round.concerns(name)) {
            match round.rights.subscribe(&session.claims, &name) {
                Decision::Allow => kept.push(name),
                Decision::Deny(_) => lost.push(name),
                Decision::Ask(questions) => asked.push((name, questions)),
            }
        }
        for name in kept {
            if let Some(channel) = self.subscriptions.channels.find(&name) {
                self.subscriptions.doubts.forget(key, namespace, channel);
            }
        }
        for channel in lost {
            round.lost();
            self.lose(key, namespace, &channel, Why::Denied);
        }
        asked
    }

    fn ask_again(&self, round: Arc<Round>, doubts: Vec<Doubt<Followers>>) {
        let shard = self.handle.clone();
        let settle =
            move |round: &Arc<Round>, followers, word| shard.settled(Arc::clone(round), followers, word);
        self.shared.desk.ask_again(round, doubts, settle);
    }

    /// The database has spoken.
    pub(super) fn settled(&mut self, round: &Round, followers: Followers, word: Option<bool>) {
        for follower in followers.0 {
            if !self.subscriptions.doubts.settle(&follower) || word == Some(true) {
                continue;
            }
            let (key, namespace, channel) = follower.place;
            let name = self.subscriptions.channels.name(channel);
            let why = if word.is_some() { Why::Denied } else { Why::Unknown };
            round.lost();
            self.lose(key, namespace, &name, why);
        }
    }

    /// A fresh token: what its claims do not grant is lost, and the database is asked again for all that it decides.
    pub(super) fn refresh(&mut self, key: Key, asked: Asked) {
        let by = self.shared.rights.load_full();
        let round = Round::session(Arc::clone(&by));
        let channels = self.hold(key, asked.namespace, &round);
        if channels.is_empty() {
            return self.reply(key, asked, &Reply::Done);
        }
        for (name, _) in &channels {
            // Asked by the claims that it had before, and so no longer of interest.
            if let Some(channel) = self.subscriptions.channels.find(name) {
                self.subscriptions.doubts.forget(key, asked.namespace, channel);
            }
        }
        let (question, then) = (Question::MayEach(channels), Then::Refreshed(asked));
        self.ask(key, Ask { question, then, by });
    }

    /// What the database says of a session with a fresh token. What it could not be asked is asked again beside.
    pub(super) fn refreshed(
        &mut self,
        key: Key,
        asked: Asked,
        outcomes: Vec<(Arc<str>, Result<bool, String>)>,
    ) {
        let rights = self.shared.rights.load_full();
        let mut doubts = Vec::new();
        for (name, outcome) in outcomes {
            match outcome {
                Ok(true) => {}
                Ok(false) => self.lose(key, asked.namespace, &name, Why::Denied),
                Err(_) => doubts.extend(self.doubt(key, asked.namespace, &name, &rights)),
            }
        }
        if !doubts.is_empty() {
            self.ask_again(Round::session(rights), doubts);
        }
        self.reply(key, asked, &Reply::Done);
    }

    fn doubt(&mut self, key: Key, namespace: u8, name: &str, rights: &Rights) -> Option<Doubt<Followers>> {
        let session = self.conns.get(key)?.session(namespace)?;
        let channel = self.subscriptions.channels.find(name)?;
        session.subscription(channel)?;
        let Decision::Ask(questions) = rights.subscribe(&session.claims, name) else {
            return None;
        };
        let follower = self.subscriptions.doubts.raise((key, namespace, channel));
        Some(Doubt {
            questions,
            of: Followers(vec![follower]),
        })
    }

    /// The database denies a subscribe: whoever follows the channel from before does so no longer.
    pub(super) fn refused(&mut self, key: Key, asked: Asked, channel: &str) {
        let follows = self
            .conns
            .get(key)
            .and_then(|conn| conn.session(asked.namespace))
            .zip(self.subscriptions.channels.find(channel))
            .is_some_and(|(session, channel)| session.subscription(channel).is_some());
        if follows {
            self.lose(key, asked.namespace, channel, Why::Denied);
        }
        self.reply(key, asked, &Reply::refused(&codes::FORBIDDEN, NOT_YOU));
    }

    /// The channels that a session follows by its rights: neither those by which back ends reach its socket, nor those that its
    /// endpoint grants.
    fn granted(&self, conn: &Conn, session: &Session, rights: &Rights) -> Vec<Arc<str>> {
        let names = session
            .subscriptions
            .iter()
            .map(|s| self.subscriptions.channels.name(s.channel));
        if conn.variant.codec.endpoint_grants() {
            let Some(rooms) = &conn.rooms else {
                return Vec::new();
            };
            let own = rights.name(&rooms.own, &session.claims).channels;
            return names.filter(|name| !own.contains(name)).collect();
        }
        let own = |name: &Arc<str>| match &session.named {
            Some(named) => room::is_own(name, &named.sid),
            None => false,
        };
        names.filter(|name| !own(name)).collect()
    }

    /// Claims would join channels under names that are taken apart wrongly: they do not, and the client learns which claim it is.
    pub(super) fn refuse_names(&mut self, key: Key, namespace: u8, names: &[Ambiguous]) {
        self.shared.desk.ambiguous(names);
        for name in names {
            self.refuse_unasked(key, namespace, &codes::FORBIDDEN, name.refusal());
        }
    }

    /// The application takes a channel from the sessions of a user; how many had it.
    pub(super) fn take_from_user(&mut self, user: &str, channel: &str) -> usize {
        self.fan_out();
        let number = self.subscriptions.channels.find(channel);
        let followers = number.and_then(|number| Some((number, self.subscriptions.channels.get(number)?)));
        let Some((number, followers)) = followers else {
            return 0;
        };
        let is_of_user = |session: &&Session| {
            session.subscription(number).is_some() && session.claims.subject().as_deref() == Some(user)
        };
        let places: Vec<(Key, u8)> = followers
            .followers
            .iter()
            .filter_map(|&place| self.conns.follower(place))
            .flat_map(|conn| {
                let sessions = conn.sessions.iter().filter(is_of_user);
                sessions.map(|session| (conn.key, session.namespace))
            })
            .collect();
        for &(key, namespace) in &places {
            self.lose(key, namespace, channel, Why::Taken);
        }
        places.len()
    }

    fn lose(&mut self, key: Key, namespace: u8, channel: &str, why: Why) {
        self.shared.metrics.dropped(Reason::Forbidden);
        self.lost_right(key, namespace, channel, &LostRight::new(why, channel));
    }
}

/// A subscription's right ended.
pub(super) struct LostRight {
    pub code: &'static Code,
    /// The close code for clients that have no words for one channel of several.
    pub close: &'static Code,
    pub message: String,
}

impl LostRight {
    fn new(why: Why, channel: &str) -> Self {
        match why {
            Why::Denied => Self {
                code: &codes::FORBIDDEN,
                close: &codes::CLOSE_FORBIDDEN,
                message: format!("channel {channel} is no longer granted"),
            },
            Why::Taken => Self {
                code: &codes::FORBIDDEN,
                close: &codes::CLOSE_FORBIDDEN,
                message: format!("channel {channel} was taken from you by its application"),
            },
            Why::Unknown => Self {
                code: &codes::UNAVAILABLE,
                close: &codes::CLOSE_INTERNAL,
                message: format!(
                    "whether channel {channel} is still granted could not be asked: subscribe again later"
                ),
            },
        }
    }
}
