//! Whether a warm instance of a pool will do for a function, or it needs an instance of its own.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::function::WasmFunctionSpec;
use crate::pod::PodSettings;
use crate::pool::WarmPoolSpec;

/// Those of two letters come first, so that no shorter one hides them.
const SUFFIXES: [(&str, f64); 13] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
];

/// Says why a function cannot be served by a pool's instances: they run already, with the pool's settings.
///
/// # Errors
/// The first thing that it asks for and they lack.
pub fn fits_pool(template: &WasmFunctionSpec, pool: &WarmPoolSpec) -> Result<(), String> {
    if !template.volumes.is_empty() {
        return Err("it has volumes, and a running pod takes none".to_owned());
    }
    let PodSettings { resources, service_account_name, .. } = &template.pod;
    if service_account_name.is_some() && service_account_name != &pool.pod.service_account_name {
        return Err("it has a ServiceAccount of its own".to_owned());
    }
    if let Some(field) = own_setting(&template.pod, &pool.pod) {
        return Err(format!("it sets pod.{field}, which a running pod cannot follow"));
    }
    match resources {
        Some(wanted) => resources_within(wanted, pool.pod.resources.as_ref()),
        None => Ok(()),
    }
}

/// A setting of placement or labels that differs from the pool's.
fn own_setting(own: &PodSettings, pool: &PodSettings) -> Option<&'static str> {
    let differs = [
        ("nodeSelector", !own.node_selector.is_empty() && own.node_selector != pool.node_selector),
        ("tolerations", !own.tolerations.is_empty() && own.tolerations != pool.tolerations),
        ("affinity", own.affinity.is_some() && own.affinity != pool.affinity),
        (
            "topologySpreadConstraints",
            !own.topology_spread_constraints.is_empty()
                && own.topology_spread_constraints != pool.topology_spread_constraints,
        ),
        ("labels", !own.labels.is_empty() && own.labels != pool.labels),
        ("annotations", !own.annotations.is_empty() && own.annotations != pool.annotations),
    ];
    differs.into_iter().find_map(|(field, differs)| differs.then_some(field))
}

// A request is a promise that the pool must have made; a limit is a bound, which no limit is not.
fn resources_within(wanted: &ResourceRequirements, pool: Option<&ResourceRequirements>) -> Result<(), String> {
    let nothing = ResourceRequirements::default();
    let pool = pool.unwrap_or(&nothing);
    within("requests", wanted.requests.as_ref(), pool.requests.as_ref())?;
    within("limits", wanted.limits.as_ref(), pool.limits.as_ref())
}

fn within(
    kind: &str,
    wanted: Option<&BTreeMap<String, Quantity>>,
    pool: Option<&BTreeMap<String, Quantity>>,
) -> Result<(), String> {
    for (name, quantity) in wanted.into_iter().flatten() {
        let wanted = value(quantity).ok_or_else(|| format!("its {kind} of {name} ({}) are no quantity", quantity.0))?;
        let has = pool.and_then(|pool| pool.get(name)).and_then(value);
        if has.is_none_or(|has| has < wanted) {
            return Err(format!("its {kind} of {name} ({}) are not within the pool's", quantity.0));
        }
    }
    Ok(())
}

/// A quantity as Kubernetes writes it: a decimal with a suffix, or with an exponent.
fn value(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.as_str();
    let suffix = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = suffix.unwrap_or((text, 1.0));
    number.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(more: &str) -> WasmFunctionSpec {
        let text = format!("component: {{image: \"a/b:1\"}}\n{more}");
        serde_saphyr::from_str(&text).unwrap()
    }

    fn pool(more: &str) -> WarmPoolSpec {
        serde_saphyr::from_str(&format!("size: 2\n{more}")).unwrap()
    }

    #[test]
    fn a_function_fits_when_it_asks_for_nothing_that_the_pool_lacks() {
        let bounded = "pod: {resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 128Mi}}}";
        for (template, of, fits) in [
            ("", "", true),
            ("", bounded, true),
            ("pod: {imagePullSecrets: [{name: s}]}", "", true),
            ("pod: {resources: {requests: {cpu: 0.1}}}", bounded, true),
            ("pod: {resources: {requests: {cpu: 101m}}}", bounded, false),
            ("pod: {resources: {limits: {memory: 1e8}}}", bounded, true),
            ("pod: {resources: {limits: {memory: 1Gi}}}", bounded, false),
            ("pod: {resources: {limits: {cpu: 1}}}", bounded, false),
            ("pod: {resources: {requests: {cpu: 1m}}}", "", false),
            ("pod: {resources: {requests: {cpu: much}}}", bounded, false),
            ("volumes: [{name: v, emptyDir: {}}]", "", false),
            ("pod: {serviceAccountName: own}", "", false),
            ("pod: {serviceAccountName: own}", "pod: {serviceAccountName: own}", true),
            ("pod: {nodeSelector: {disk: ssd}}", "", false),
            ("pod: {nodeSelector: {disk: ssd}}", "pod: {nodeSelector: {disk: ssd}}", true),
            ("pod: {tolerations: [{operator: Exists}]}", "", false),
            ("pod: {labels: {team: a}}", "", false),
            ("pod: {annotations: {a: b}}", "", false),
        ] {
            let found = fits_pool(&function(template), &pool(of));
            assert_eq!(found.is_ok(), fits, "{template:?} in {of:?}: {found:?}");
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, wanted) in [
            ("1", Some(1.0)),
            ("250m", Some(0.25)),
            ("64Mi", Some(67_108_864.0)),
            ("1.5G", Some(1.5e9)),
            ("1e3", Some(1000.0)),
            ("", None),
            ("Mi", None),
            ("inf", None),
        ] {
            assert_eq!(value(&Quantity(text.to_owned())), wanted, "{text:?}");
        }
    }
}
