use std::fs;

use super::*;

#[test]
fn only_a_path_without_a_file_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    assert!(!exists(&RealDisk, &file).unwrap());
    fs::write(&file, "content").unwrap();
    assert!(exists(&RealDisk, &file).unwrap());
    assert!(exists(&RealDisk, &file.join("below a file")).is_err(), "an error says nothing");
}

#[test]
fn a_sync_of_a_missing_file_or_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    assert!(RealDisk.sync_file(&missing).is_err() && RealDisk.sync_folder(&missing).is_err());
    assert!(RealDisk.sync_all(&missing).is_err());
    fs::write(&missing, "content").unwrap();
    RealDisk.sync_file(&missing).unwrap();
    RealDisk.sync_folder(folder.path()).unwrap();
    RealDisk.sync_all(folder.path()).unwrap();
}
