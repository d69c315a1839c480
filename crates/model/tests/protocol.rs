//! The protocol holds in every state, and every rule that is taken away is missed.

use eye_model::{Mutation, Protocol};
use stateright::{Checker, HasDiscoveries, Model};

/// Every state that two processes, three batches, two crashes and two faults can lead to: see `docs/reliability.md`.
const STATES: usize = 2_835_402;

#[test]
fn the_protocol_holds_in_every_state() {
    let checker = Protocol::new().checker().threads(2).spawn_bfs().join();
    println!("{} states, {} of them different", checker.state_count(), checker.unique_state_count());
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), STATES, "the model has become another");
}

#[test]
fn every_missing_rule_is_found_out() {
    for mutation in Mutation::ALL {
        let checker = Protocol::without(*mutation)
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let broken: Vec<_> = checker
            .discoveries()
            .into_iter()
            .filter(|(name, _)| checker.discovery_classification(name).to_string() == "counterexample")
            .collect();
        assert!(!broken.is_empty(), "nothing notices {mutation:?}");
        for (name, path) in broken {
            println!("without {mutation:?}: {name}: {:?}", path.into_actions());
        }
    }
}
