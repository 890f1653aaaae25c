//! Users and passwords: an htpasswd file with bcrypt hashes (`htpasswd -B`), and the check of a password.
//!
//! bcrypt is slow on purpose, and Basic comes with every request: a password that was right is remembered for a short
//! time as a keyed hash of it and of the file's line, under a key of this process. Concurrency: few checks run at once,
//! on threads that may block, so that wrong passwords cost their sender time and not the others.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::{KeyInit, Mac};
use parking_lot::Mutex;
use samebundle_spec::limits;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::super::random::random;
use super::user::{ANONYMOUS, EVERYBODY, User};
use crate::{StoreError, durable};

/// How long a correct password is not hashed again.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Passwords that are hashed at one time.
const AT_ONCE: usize = 2;

/// Hashes by name.
#[derive(Debug)]
pub(super) struct Users(BTreeMap<String, String>);

impl Users {
    /// Reads the file: `name:hash` a line, `#` begins a comment.
    ///
    /// # Errors
    /// [`StoreError::Path`]; [`StoreError::Invalid`] with the line for any hash that is not bcrypt.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, StoreError> {
        let mut users = BTreeMap::new();
        for path in paths {
            let invalid = |line: usize, why: &str| StoreError::Invalid {
                subject: format!("{}:{line}", path.display()),
                why: why.to_owned(),
            };
            let text = text(path)?;
            for (number, line) in text.lines().enumerate() {
                let (number, line) = (number + 1, line.trim());
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let Some((name, hash)) = line.split_once(':').filter(|(name, _)| !name.is_empty()) else {
                    return Err(invalid(number, "it is not name:hash"));
                };
                if hash.parse::<bcrypt::HashParts>().is_err() {
                    return Err(invalid(
                        number,
                        "the hash is not bcrypt; make it with `htpasswd -B`",
                    ));
                }
                if users.insert(name.to_owned(), hash.to_owned()).is_some() {
                    return Err(invalid(number, "the name is there twice"));
                }
            }
        }
        Ok(Self(users))
    }
}

fn text(path: &Path) -> Result<String, StoreError> {
    let bytes = durable::read_named(path, limits::ACCESS_BYTES).map_err(StoreError::io("read", path))?;
    String::from_utf8(bytes).map_err(|_| StoreError::Invalid {
        subject: path.display().to_string(),
        why: "it is not text in UTF-8".to_owned(),
    })
}

/// Work of the hashes that are written here, as a power of two: what `htpasswd` and others take for servers.
const COST: u32 = 10;

/// Sets the password of a user in an htpasswd file, made if absent; the other lines stay as they are.
///
/// # Errors
/// [`StoreError::Invalid`] for a name or password that cannot be, or a file that is none; [`StoreError::Path`].
pub fn set_password(file: &Path, name: &str, password: &str) -> Result<(), StoreError> {
    let invalid = |subject: &str, why: &str| StoreError::Invalid {
        subject: subject.to_owned(),
        why: why.to_owned(),
    };
    let plain = |c: char| c.is_ascii_graphic() && c != ':';
    if name.is_empty()
        || name.starts_with('#')
        || !name.chars().all(plain)
        || [EVERYBODY, ANONYMOUS].contains(&name)
    {
        return Err(invalid(
            "the user's name",
            "it must be printable ASCII without spaces and colons, and neither * nor anonymous",
        ));
    }
    // bcrypt reads no more.
    if password.is_empty() || password.len() > 71 {
        return Err(invalid("the password", "it must have 1 to 71 bytes"));
    }
    let hash = bcrypt::non_truncating_hash(password, COST)
        .map_err(|error| invalid("the password", &error.to_string()))?;
    // Before it is read: reading a pipe would wait for whoever writes to it.
    let target = durable::target(file).map_err(StoreError::io("write", file))?;
    let old = if target.exists() {
        Users::read(&[file.to_owned()])?;
        text(file)?
    } else {
        String::new()
    };
    let prefix = format!("{name}:");
    let mut text: String = old
        .lines()
        .filter(|line| !line.trim().starts_with(&prefix))
        .flat_map(|line| [line, "\n"])
        .collect();
    text.push_str(&format!("{prefix}{hash}\n"));
    durable::write(file, text.as_bytes(), 0o600).map_err(StoreError::io("write", file))
}

type Tag = Blake2bMac<U32>;

#[derive(Debug)]
struct Remembered {
    tag: [u8; 32],
    until: Instant,
}

/// Checks passwords.
#[derive(Debug)]
pub(super) struct Logins {
    key: Zeroizing<[u8; 32]>,
    right: Mutex<HashMap<String, Remembered>>,
    slots: Arc<Semaphore>,
}

impl Logins {
    pub(super) fn new() -> Result<Self, StoreError> {
        let mut key = Zeroizing::new([0; 32]);
        random(key.as_mut())?;
        Ok(Self {
            key,
            right: Mutex::default(),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    fn tag(&self, hash: &str, password: &str) -> Option<Tag> {
        let mut tag = <Tag as KeyInit>::new_from_slice(self.key.as_ref()).ok()?;
        tag.update(hash.as_bytes());
        tag.update(&[0]);
        tag.update(password.as_bytes());
        Some(tag)
    }

    /// Finds the user whose password this is.
    pub(super) async fn check(
        &self,
        users: &Users,
        name: String,
        password: Zeroizing<String>,
    ) -> Option<User> {
        let known = users.0.get(&name);
        // For an unknown name the hash of another user is checked, so that the time does not tell which names exist.
        let hash = known.or_else(|| users.0.values().next())?.clone();
        if known.is_some() && self.remembers(&name, &hash, &password) {
            return Some(User::Named(name));
        }
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        let is_known = known.is_some();
        let (right, hash, password) = tokio::task::spawn_blocking(move || {
            let right = bcrypt::non_truncating_verify(password.as_bytes(), &hash).unwrap_or(false);
            drop(slot);
            (right, hash, password)
        })
        .await
        .ok()?;
        if !(right && is_known) {
            return None;
        }
        self.remember(&name, &hash, &password);
        Some(User::Named(name))
    }

    fn remembers(&self, name: &str, hash: &str, password: &str) -> bool {
        let kept = self
            .right
            .lock()
            .get(name)
            .filter(|kept| Instant::now() < kept.until)
            .map(|kept| kept.tag);
        // The comparison takes the same time wherever the tags differ.
        kept.is_some_and(|kept| {
            self.tag(hash, password)
                .is_some_and(|tag| tag.verify_slice(&kept).is_ok())
        })
    }

    fn remember(&self, name: &str, hash: &str, password: &str) {
        if let Some(tag) = self.tag(hash, password) {
            let remembered = Remembered {
                tag: tag.finalize().into_bytes().into(),
                until: Instant::now() + REMEMBERED,
            };
            self.right.lock().insert(name.to_owned(), remembered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> Result<Users, StoreError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Users::read(&[file.path().to_owned()])
    }

    fn hash(password: &str) -> String {
        bcrypt::hash(password, 4).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_right_or_not_also_when_it_is_remembered() {
        let logins = Logins::new().unwrap();
        let users = users(&format!("# people\n\nalice:{}\nbob:{}\n", hash("a"), hash("b"))).unwrap();
        for _ in 0..2 {
            for (name, password, expected) in [
                ("alice", "a", true),
                ("alice", "b", false),
                ("alice", "", false),
                ("bob", "b", true),
                ("carol", "a", false),
                ("", "a", false),
                ("alice", &"a".repeat(73), false),
            ] {
                let password = Zeroizing::new(password.to_owned());
                let found = logins.check(&users, name.to_owned(), password).await;
                assert_eq!(found.is_some(), expected, "{name}");
            }
        }
        // Another password in the file ends what is remembered.
        let changed = super::tests::users(&format!("alice:{}\n", hash("new"))).unwrap();
        let old = Zeroizing::new("a".to_owned());
        assert_eq!(logins.check(&changed, "alice".to_owned(), old).await, None);
    }

    #[tokio::test]
    async fn a_password_is_set_and_the_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        set_password(&file, "alice", "one").unwrap();
        set_password(&file, "bob", "b").unwrap();
        set_password(&file, "alice", "two").unwrap();
        let users = Users::read(std::slice::from_ref(&file)).unwrap();
        assert_eq!(users.0.len(), 2);
        let logins = Logins::new().unwrap();
        for (name, password, expected) in [
            ("alice", "two", true),
            ("alice", "one", false),
            ("bob", "b", true),
        ] {
            let password = Zeroizing::new(password.to_owned());
            let found = logins.check(&users, name.to_owned(), password).await;
            assert_eq!(found.is_some(), expected, "{name}");
        }
        let long = "x".repeat(72);
        for (name, password) in [
            ("a:b", "x"),
            ("", "x"),
            ("*", "x"),
            ("#a", "x"),
            ("a b", "x"),
            ("a", ""),
            ("a", &long),
        ] {
            assert!(set_password(&file, name, password).is_err(), "{name} {password}");
        }
    }

    #[test]
    fn only_bcrypt_is_taken() {
        for (text, place) in [
            ("alice:$apr1$x$y", ":1"),
            ("# x\nalice:{SHA}x", ":2"),
            ("alice", ":1"),
            (":x", ":1"),
            ("alice:secret", ":1"),
        ] {
            let Err(StoreError::Invalid { subject, .. }) = users(text) else {
                panic!("{text}")
            };
            assert!(subject.ends_with(place), "{subject}");
        }
        let twice = format!("a:{}\na:{}", hash("x"), hash("y"));
        assert!(users(&twice).is_err());
    }
}
