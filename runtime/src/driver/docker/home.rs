//! Gives another user than root a home folder that they may write to, in a container that has not started.
//!
//! The engine knows the users of its images and does not tell, so their files are read from the container.

use std::io::{self, Read};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures::StreamExt;
use samebundle_spec::image_config::ContainerConfig;
use samebundle_spec::limits;

use crate::image::account::{self, Account};

/// Gives the user of a container a home. False if it must be created again: `body` has the variable `HOME` now, and the
/// environment of a container cannot be changed.
pub(super) async fn house(
    engine: &Docker,
    container: &str,
    image: &ContainerConfig,
    body: &mut ContainerCreateBody,
) -> Result<bool, Error> {
    let user = body.user.as_ref().unwrap_or(&image.user);
    if ["", "0", "root"].contains(&user.split(':').next().unwrap_or_default()) {
        return Ok(true);
    }
    let passwd = read(engine, container, "/etc/passwd").await?;
    let groups = read(engine, container, "/etc/group").await?;
    let Ok(account) = account::look_up(user, &passwd, &groups) else {
        // The engine says better that there is no such user, when it starts the container.
        return Ok(true);
    };
    let environment = body.env.get_or_insert_default();
    let named = environment
        .iter()
        .chain(&image.env)
        .find_map(|variable| variable.strip_prefix("HOME="));
    if named.is_none() && account.is_homeless() {
        environment.push(format!("HOME={}", account.home));
        return Ok(false);
    }
    match account.own_home(named) {
        Some(home) => give(engine, container, &account, home).await.map(|()| true),
        None => Ok(true),
    }
}

/// Makes a folder of a container the user's own. What is no folder stays as it is.
async fn give(engine: &Docker, container: &str, account: &Account, home: &str) -> Result<(), Error> {
    let options = ContainerArchiveInfoOptionsBuilder::default().path(home).build();
    let mode = match engine.get_container_archive_info(container, Some(options)).await {
        Ok(found) if found.file_mode & GO_DIRECTORY == 0 => return Ok(()),
        Ok(found) => permissions(found.file_mode),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => 0o755,
        Err(error) => return Err(error),
    };
    let tar = folder(home.trim_start_matches('/'), mode | 0o700, account)?;
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    let body = bollard::body_full(Bytes::from(tar));
    engine.upload_to_container(container, Some(options), body).await
}

/// The bit of a folder in the modes of the engine, which are those of Go.
const GO_DIRECTORY: u32 = 1 << 31;

/// Returns the permissions of a mode of Go. Its bits for set-user-id, set-group-id and sticky are elsewhere.
fn permissions(mode: u32) -> u32 {
    let bit = |theirs: u32, ours: u32| if mode & (1 << theirs) == 0 { 0 } else { ours };
    mode & 0o777 | bit(23, 0o4000) | bit(22, 0o2000) | bit(20, 0o1000)
}

fn folder(name: &str, mode: u32, account: &Account) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(mode);
    header.set_uid(account.uid.into());
    header.set_gid(account.gid.into());
    header.set_mtime(0);
    header.set_size(0);
    tar.append_data(&mut header, name, io::empty())?;
    tar.into_inner()
}

/// Reads a file of a container. One that is missing, or is no file, is empty.
async fn read(engine: &Docker, container: &str, path: &str) -> Result<Vec<u8>, Error> {
    let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
    let mut tar = Vec::new();
    let mut stream = std::pin::pin!(engine.download_from_container(container, Some(options)));
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => tar.extend_from_slice(&chunk),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        if tar.len() as u64 > limits::ACCOUNT_FILE_BYTES {
            break;
        }
    }
    let mut text = Vec::new();
    if let Some(entry) = tar::Archive::new(tar.as_slice()).entries()?.next() {
        // A file that is too long is read as far as it came.
        let _ = entry?.read_to_end(&mut text);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn modes_of_go_become_permissions() {
        assert_eq!(super::permissions(1 << 31 | 0o755), 0o755);
        assert_eq!(super::permissions(1 << 31 | 1 << 20 | 0o777), 0o1777);
    }
}
