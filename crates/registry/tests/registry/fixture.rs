//! Records of version 1 as they were once written: every later version must open them and mean the same.

use eye_registry::{Denied, Registry};

use crate::support::{IMPORTED, NEW_PASSWORD, PASSWORD, at, log_of};

const RECORDS: &str = include_str!("../fixtures/records-v1.ndjson");
const STATE: &str = include_str!("../fixtures/state-v1.json");

#[test]
fn records_of_version_1_mean_what_they_always_meant() {
    let records: Vec<&str> = RECORDS.lines().collect();
    let registry = Registry::open(log_of(&records)).unwrap();
    let state = registry.state();
    let shown = serde_json::json!({
        "applications": state.applications().iter().map(|one| serde_json::to_value(&**one).unwrap()).collect::<Vec<_>>(),
        "tokens": state.tokens().iter().map(|one| serde_json::to_value(&**one).unwrap()).collect::<Vec<_>>(),
        "users": state.users().iter().map(|one| serde_json::to_value(&**one).unwrap()).collect::<Vec<_>>(),
    });
    assert_eq!(shown, serde_json::from_str::<serde_json::Value>(STATE).unwrap());
    assert_eq!(registry.authenticate(IMPORTED, at(20)).unwrap().token, state.find_token("seed client").unwrap().id);
    assert_eq!(registry.verify_password("ADA", PASSWORD).unwrap().name, "Ada");
    assert_eq!(registry.verify_password("vera", NEW_PASSWORD).unwrap_err(), Denied::UserInactive);
    assert_eq!(registry.audit(None, 100).unwrap().len(), records.len() - 1);
}
