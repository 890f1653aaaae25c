//! Who a container runs as: the `User` of an image, looked up in the image's own `passwd` and `group`.

use std::io::{self, Read};
use std::path::Path;

use samebundle_spec::limits;

use super::beneath::Root;

/// A resolved user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups that name the user.
    pub groups: Vec<u32>,
    /// Home folder. If the image names none, it is `/` for root and [`HOME`] for others, who may not write to `/`.
    pub home: String,
}

/// The home folder of a user for whom the image names none.
const HOME: &str = "/samebundle/home";

impl Account {
    /// Returns the folder that must be the user's own before a container starts: its home, which is that of `HOME` in the
    /// environment if it is there. None for root, who may write everywhere.
    pub fn own_home<'a>(&'a self, from_environment: Option<&'a str>) -> Option<&'a str> {
        let home = from_environment.unwrap_or(&self.home);
        (self.uid != 0 && home.starts_with('/') && !home.trim_matches('/').is_empty()).then_some(home)
    }

    /// Tells whether the image names no home for this user.
    pub fn is_homeless(&self) -> bool {
        self.home == HOME
    }
}

/// Looks up `user`, `uid`, `user:group` or `uid:gid` in an image's root. Empty means root.
///
/// # Errors
/// `NotFound` if a name is not in the image's files; the system's error if they cannot be read.
pub fn resolve(root: &Root, user: &str) -> io::Result<Account> {
    look_up(user, &read(root, "etc/passwd")?, &read(root, "etc/group")?)
}

/// As [`resolve`], in the bytes of the image's files.
///
/// # Errors
/// `NotFound` if a name is not in the files.
pub fn look_up(user: &str, passwd: &[u8], groups: &[u8]) -> io::Result<Account> {
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    let user = if user.is_empty() { "0" } else { user };
    let passwd = lines(passwd);
    let line = passwd.iter().find(|fields| {
        fields.first().is_some_and(|name| name == user) || fields.get(2).is_some_and(|uid| uid == user)
    });
    let number = |line: &[String], at: usize| line.get(at).and_then(|text| text.parse::<u32>().ok());
    let missing = |what: &str| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("the image has no {what} {user:?}"),
        )
    };
    let mut account = match (line, user.parse::<u32>()) {
        (Some(line), _) => Account {
            uid: number(line, 2).ok_or_else(|| missing("usable line for user"))?,
            gid: number(line, 3).unwrap_or(0),
            groups: Vec::new(),
            home: line
                .get(5)
                .filter(|home| home.starts_with('/'))
                .cloned()
                .unwrap_or_default(),
        },
        (None, Ok(uid)) => Account {
            uid,
            ..Account::default()
        },
        (None, Err(_)) => return Err(missing("user")),
    };
    let groups = lines(groups);
    if group.is_empty() {
        let name = line.and_then(|line| line.first());
        let named = |fields: &&Vec<String>| {
            let members = fields.get(3).map_or("", String::as_str);
            name.is_some_and(|name| members.split(',').any(|member| member == name))
        };
        account.groups = groups
            .iter()
            .filter(named)
            .filter_map(|fields| number(fields, 2))
            .collect();
    } else {
        let line = groups
            .iter()
            .find(|fields| fields.first().is_some_and(|name| name == group));
        account.gid = match (line, group.parse()) {
            (Some(line), _) => number(line, 2).ok_or_else(|| missing("usable line for the group of"))?,
            (None, Ok(gid)) => gid,
            (None, Err(_)) => return Err(missing("group for")),
        };
    }
    if account.home.is_empty() || account.home == "/" {
        account.home = if account.uid == 0 { "/" } else { HOME }.to_owned();
    }
    Ok(account)
}

/// Reads an account file. One that is missing is empty.
fn read(root: &Root, path: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match root.file(Path::new(path)) {
        Ok(file) => file.take(limits::ACCOUNT_FILE_BYTES).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(text)
}

/// The lines of an account file, split at colons.
fn lines(text: &[u8]) -> Vec<Vec<String>> {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect()
}
