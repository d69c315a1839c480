//! Where a table lies: from a folder or an address to an object store and a place inside it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use url::Url;

use super::local_store::DurableLocal;
use crate::error::{Error, Kind, Result};

/// A folder in an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLocation {
    url: Url,
    root: Path,
    local: Option<PathBuf>,
}

impl TableLocation {
    /// A folder of an object store whose addresses begin with `scheme://host`, such as `memory:///events`.
    ///
    /// # Errors
    /// `Invalid` if the address cannot be read.
    pub fn remote(url: &str) -> Result<Self> {
        let url = folder_url(parse_url(url)?);
        let root = Path::from_url_path(url.path()).map_err(|error| invalid(url.as_str(), &error))?;
        Ok(Self { url, root, local: None })
    }

    /// A folder of this machine.
    ///
    /// # Errors
    /// `Invalid` if the path cannot be made absolute or cannot be written as an address.
    pub fn local(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let shown = folder.display().to_string();
        let folder = std::path::absolute(folder).map_err(|error| invalid(&shown, &error))?;
        let url = Url::from_directory_path(&folder).map_err(|()| invalid(&shown, &"not an absolute path"))?;
        let root = Path::from_absolute_path(&folder).map_err(|error| invalid(&shown, &error))?;
        Ok(Self { url, root, local: Some(folder) })
    }

    /// A folder inside this one.
    ///
    /// # Errors
    /// `Invalid` if the name is no folder name.
    pub fn child(&self, name: &str) -> Result<Self> {
        match &self.local {
            Some(folder) => Self::local(folder.join(name)),
            None => Self::remote(&format!("{}{name}", self.url)),
        }
    }

    /// The address, with a slash at the end.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The folder, if it is one of this machine.
    #[must_use]
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.local.as_deref()
    }

    /// The folder inside its object store.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// The object store and the place in it that a folder path or an address (`s3://`, `gs://`, `az://`, `file://`,
/// `memory://`) means. `options` go to the object store as they are: keys, region, endpoint.
///
/// A folder of this machine gets a store that makes every write durable before it returns.
///
/// # Errors
/// `Invalid` if the address or an option is not understood.
pub fn resolve(url: &str, options: &BTreeMap<String, String>) -> Result<(Arc<dyn ObjectStore>, TableLocation)> {
    if !url.contains("://") {
        return Ok((Arc::new(DurableLocal::new()), TableLocation::local(url)?));
    }
    let parsed = parse_url(url)?;
    match parsed.scheme() {
        "file" => {
            let folder = parsed.to_file_path().map_err(|()| invalid(url, &"not the path of a file"))?;
            Ok((Arc::new(DurableLocal::new()), TableLocation::local(folder)?))
        }
        "memory" => Ok((Arc::new(InMemory::new()), TableLocation::remote(url)?)),
        _ => {
            let parsed = folder_url(parsed);
            let (store, root) = object_store::parse_url_opts(&parsed, options).map_err(|error| invalid(url, &error))?;
            Ok((Arc::from(store), TableLocation { url: parsed, root, local: None }))
        }
    }
}

fn parse_url(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| invalid(url, &error))
}

fn folder_url(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

fn invalid(url: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(
        Kind::Invalid,
        format!("cannot use {url} for a table: {why}; give a folder or an address like s3://bucket/path"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_addresses_are_told_apart() {
        let none = BTreeMap::new();
        let (_, local) = resolve("/tmp/a b/tables", &none).unwrap();
        assert_eq!(local.folder().unwrap(), std::path::Path::new("/tmp/a b/tables"));
        assert_eq!(local.child("events").unwrap().url().as_str(), "file:///tmp/a%20b/tables/events/");
        assert_eq!(local.root().as_ref(), "tmp/a b/tables");
        let (_, file) = resolve("file:///tmp/x", &none).unwrap();
        assert_eq!(file.folder().unwrap(), std::path::Path::new("/tmp/x"));
        let (_, memory) = resolve("memory:///deep/er", &none).unwrap();
        assert_eq!(memory.child("events").unwrap().root().as_ref(), "deep/er/events");
        let (_, bucket) = resolve("s3://bucket/eye", &BTreeMap::from([("region".into(), "x".into())])).unwrap();
        assert_eq!((bucket.url().as_str(), bucket.root().as_ref()), ("s3://bucket/eye/", "eye"));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let error = resolve("ftp://somewhere/else", &BTreeMap::new()).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("ftp://somewhere/else"));
    }
}
