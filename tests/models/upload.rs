//! Two requests race on one state of an upload, each with bytes of its own under the same part number
//! (`registry/uploads`): whatever happens, a digest's key holds what has that digest, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Model, explore};

/// What a client sends as the second part; a blob is the two parts.
type Byte = u8;
const FIRST: Byte = 1;

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// PATCH: the part is on its way.
    Sending,
    /// PUT: it looks at the parts.
    Listing,
    Completing,
    /// What was completed is what the state vouches for.
    Renaming,
    /// It has to be looked at.
    Hashing,
    /// The bytes are others: the upload is thrown away.
    Discarding,
    Linking,
    Acknowledged,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    byte: Byte,
    at: At,
    /// Its replica may die once more.
    mortal: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// The multipart upload, while it is open: its second part, if there is one.
    open: Option<Vec<Byte>>,
    /// What it was completed to.
    data: Option<Byte>,
    /// Blobs, by what their digest says they are.
    blobs: BTreeMap<Byte, Byte>,
    links: BTreeSet<Byte>,
    clients: Vec<Client>,
    /// Somebody swept, and will not do it again.
    swept: bool,
    /// The parts are compared with those that were hashed.
    guarded: bool,
}

impl World {
    fn start(bytes: &[Byte], guarded: bool) -> Self {
        let client = |byte: &Byte| Client { byte: *byte, at: At::Sending, mortal: true };
        Self {
            open: Some(Vec::new()),
            data: None,
            blobs: BTreeMap::new(),
            links: BTreeSet::new(),
            clients: bytes.iter().map(client).collect(),
            swept: false,
            guarded,
        }
    }

    /// The next step of a client.
    fn step(&mut self, number: usize) {
        let Client { byte, at, .. } = self.clients[number];
        let then = match at {
            At::Sending => match &mut self.open {
                Some(part) => {
                    *part = vec![byte];
                    At::Listing
                }
                None => At::Failed,
            },
            At::Listing => match &self.open {
                None => At::Hashing,
                Some(part) if *part == [byte] || !self.guarded => At::Completing,
                Some(_) => At::Failed,
            },
            At::Completing => match &self.open {
                None => At::Hashing,
                // It names the ETags of its parts.
                Some(part) if self.guarded && *part != [byte] => At::Failed,
                Some(part) => {
                    self.data = part.first().copied();
                    self.open = None;
                    At::Renaming
                }
            },
            At::Hashing => match self.data {
                Some(found) if found == byte => At::Renaming,
                Some(_) => At::Discarding,
                None => self.if_there(byte),
            },
            At::Renaming => match self.data.take() {
                Some(found) => {
                    self.blobs.insert(byte, found);
                    At::Linking
                }
                None => self.if_there(byte),
            },
            At::Discarding => {
                (self.open, self.data) = (None, None);
                At::Failed
            }
            At::Linking => {
                self.links.insert(byte);
                At::Acknowledged
            }
            At::Acknowledged | At::Failed => at,
        };
        self.clients[number].at = then;
    }

    /// A retried rename finds nothing when the first one did its work unheard.
    fn if_there(&self, byte: Byte) -> At {
        if self.blobs.contains_key(&byte) { At::Linking } else { At::Failed }
    }
}

impl Model for World {
    fn next(&self) -> Vec<(String, Self)> {
        let mut next = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            if matches!(client.at, At::Acknowledged | At::Failed) {
                continue;
            }
            let mut stepped = self.clone();
            stepped.step(number);
            next.push((format!("{number} {:?}", client.at), stepped));
            if client.mortal {
                // The client sends the same request again.
                let mut died = self.clone();
                died.clients[number].mortal = false;
                if client.at != At::Sending {
                    died.clients[number].at = At::Listing;
                }
                next.push((format!("{number} dies"), died));
            }
        }
        if !self.swept {
            let mut swept = self.clone();
            (swept.open, swept.data, swept.swept) = (None, None, true);
            next.push(("a sweep".to_owned(), swept));
        }
        next
    }

    fn always(&self) -> Result<(), String> {
        if self.blobs.iter().any(|(named, held)| named != held) {
            return Err("a blob is not what its digest says".to_owned());
        }
        let acknowledged = self.clients.iter().filter(|client| client.at == At::Acknowledged);
        for client in acknowledged {
            if !self.blobs.contains_key(&client.byte) || !self.links.contains(&client.byte) {
                return Err("what was acknowledged is not there".to_owned());
            }
        }
        // Somebody alone gets what he wants, though his replica dies.
        let failed = self.clients.iter().any(|client| client.at == At::Failed);
        if self.clients.len() == 1 && !self.swept && failed {
            return Err("it failed, and nobody disturbed it".to_owned());
        }
        Ok(())
    }

    fn finally(&self) -> Result<(), String> {
        Ok(())
    }

    fn succeeded(&self) -> bool {
        let mut acknowledged = self.clients.iter().map(|client| client.at == At::Acknowledged);
        acknowledged.any(|it| it)
    }
}

#[test]
fn a_digests_key_holds_what_has_the_digest() {
    let (a, b) = (FIRST + 1, FIRST + 2);
    assert!(explore(World::start(&[a], true)).unwrap() > 10);
    assert!(explore(World::start(&[a, b], true)).unwrap() > 200);
    // The same request, sent twice.
    assert!(explore(World::start(&[a, a], true)).unwrap() > 100);
    assert!(explore(World::start(&[a, b, b], true)).unwrap() > 2000);
}

#[test]
fn without_the_chain_of_etags_it_would_not() {
    let found = explore(World::start(&[2, 3], false)).unwrap_err();
    assert!(found.contains("not what its digest says"), "{found}");
}
