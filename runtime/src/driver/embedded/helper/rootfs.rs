//! The root of a container: an overlay over unpacked layers, or a copy of them where the kernel forbids overlays.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::super::protocol::Run;
use super::failure::{HelperFailure, Step};
use super::layer_owner;
use crate::image::beneath::{self, Root};
use crate::image::{LayerOwner, is_opaque};

/// A container's root.
pub(super) struct RootFs {
    /// Its path.
    pub(super) path: PathBuf,
    /// The folder with only what the container wrote; none if the root is a copy.
    pub(super) upper: Option<PathBuf>,
}

impl RootFs {
    /// Makes the root.
    pub(super) fn make(run: &Run) -> Result<Self, HelperFailure> {
        let path = run.folder.join("root");
        if overlay(run).is_ok() {
            return Ok(Self {
                path,
                upper: Some(run.folder.join("upper")),
            });
        }
        fs::create_dir_all(&path).step("make the root")?;
        for layer in &run.layers {
            copy(layer, &path, layer_owner(run)).step("copy a layer")?;
        }
        Ok(Self { path, upper: None })
    }

    /// Ends writing to the upper folder.
    pub(super) fn unmount(&self) -> Result<(), HelperFailure> {
        umount2(&self.path, MntFlags::MNT_DETACH).step("unmount the root")
    }
}

/// Mounts the overlay at `root`. The kernel takes one page of options, so layers are named by short relative links.
pub(super) fn overlay(run: &Run) -> Result<(), HelperFailure> {
    for name in ["root", "upper", "work", "l"] {
        fs::create_dir_all(run.folder.join(name)).step("make a folder of the overlay")?;
    }
    fs::set_permissions(run.folder.join("upper"), fs::Permissions::from_mode(0o755))
        .step("make a folder of the overlay")?;
    let links = run.folder.join("l");
    let lower = link_layers(run, &links).step("link the layers of the overlay")?;
    let mut base = format!("lowerdir={lower},upperdir=../upper,workdir=../work");
    if run.rootless {
        base.push_str(",userxattr");
    }
    // The upper folder must mean the same elsewhere, so redirects are off. It need not survive a power cut.
    let rich = format!("{base},redirect_dir=off,metacopy=off,index=off,volatile");
    std::env::set_current_dir(&links).step("enter the folder of the overlay")?;
    let mounted = mount_overlay(&rich).or_else(|_| mount_overlay(&base));
    std::env::set_current_dir("/").step("leave the folder of the overlay")?;
    mounted.step("mount the overlay")
}

fn mount_overlay(options: &str) -> nix::Result<()> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(Some("overlay"), "../root", Some("overlay"), flags, Some(options))
}

/// Makes a link for each layer and returns their names, highest first. Overlay refuses a layer that comes twice; the
/// higher one decides. The layers below one that hides everything are left out, because overlay ignores the mark of a
/// root.
fn link_layers(run: &Run, links: &Path) -> io::Result<String> {
    let mut layers: Vec<&PathBuf> = Vec::new();
    for layer in run.layers.iter().rev() {
        if !layers.contains(&layer) {
            layers.push(layer);
        }
        if is_opaque(Root::open(layer)?, layer_owner(run))? {
            break;
        }
    }
    for (number, layer) in layers.iter().enumerate() {
        symlink(layer, links.join(number.to_string()))?;
    }
    if layers.is_empty() {
        fs::create_dir(links.join("0"))?;
    }
    let names: Vec<String> = (0..layers.len().max(1))
        .map(|number| number.to_string())
        .collect();
    Ok(names.join(":"))
}

/// Copies a layer into the folder `to`, as overlay would show it.
fn copy(layer: &Path, to: &Path, owner: LayerOwner) -> io::Result<()> {
    let mut open = vec![PathBuf::new()];
    let mut folders = Vec::new();
    while let Some(path) = open.pop() {
        let (source, target) = (layer.join(&path), to.join(&path));
        if is_opaque(Root::open(&source)?, owner)? {
            beneath::remove_path(&target)?;
        }
        if !target.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            beneath::remove_path(&target)?;
            fs::create_dir(&target)?;
        }
        for entry in fs::read_dir(&source)? {
            let path = path.join(entry?.file_name());
            if fs::symlink_metadata(layer.join(&path))?.is_dir() {
                open.push(path);
            } else {
                copy_file(&layer.join(&path), &to.join(&path), owner)?;
            }
        }
        folders.push((source, target));
    }
    // The attributes come last, because a folder may forbid writing into it.
    for (source, target) in folders.iter().rev() {
        take_attributes(source, target, owner)?;
    }
    Ok(())
}

fn copy_file(source: &Path, target: &Path, owner: LayerOwner) -> io::Result<()> {
    let metadata = fs::symlink_metadata(source)?;
    beneath::remove_path(target)?;
    let kind = metadata.file_type();
    if kind.is_symlink() {
        return symlink(fs::read_link(source)?, target);
    }
    if kind.is_file() {
        fs::copy(source, target)?;
        return take_attributes(source, target, owner);
    }
    // It is a deleted file, which was removed before, or a pipe or socket, which mean nothing in a copy.
    debug_assert!(!kind.is_block_device());
    Ok(())
}

fn take_attributes(source: &Path, target: &Path, owner: LayerOwner) -> io::Result<()> {
    let metadata = fs::symlink_metadata(source)?;
    if owner == LayerOwner::Root {
        std::os::unix::fs::chown(target, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    fs::set_permissions(target, metadata.permissions())?;
    fs::File::open(target)?.set_modified(metadata.modified()?)
}
