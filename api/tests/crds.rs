//! The committed CustomResourceDefinitions are those of the types, and keep the rules of structural schemas.

use std::path::Path;

use serde_json::Value;

#[test]
fn committed_crds_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    for (file, crd) in wisp_api::crds::all() {
        let committed = std::fs::read_to_string(folder.join(file)).unwrap();
        let fresh = serde_saphyr::to_string(&crd).unwrap();
        assert_eq!(committed, fresh, "{file} is stale: run `make crds`");
    }
}

#[test]
fn schemas_are_structural() {
    for (file, crd) in wisp_api::crds::all() {
        let crd = serde_json::to_value(crd).unwrap();
        check(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], file);
    }
}

// What an API server refuses: fixed properties together with a ban on others, and fields without a type.
fn check(schema: &Value, path: &str) {
    let preserved = schema.get("x-kubernetes-preserve-unknown-fields").is_some();
    let int_or_string = schema.get("x-kubernetes-int-or-string").is_some();
    assert!(schema.get("type").is_some() || preserved || int_or_string, "{path} has no type: {schema}");
    assert!(
        !(schema.get("properties").is_some() && schema.get("additionalProperties").is_some()),
        "{path} has properties and additionalProperties"
    );
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        check(property, &format!("{path}.{name}"));
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(nested).filter(|inner| inner.is_object()) {
            check(inner, &format!("{path}.{nested}"));
        }
    }
}
