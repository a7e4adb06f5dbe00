//! Settings, initial weights and parameter ids.

use std::collections::HashMap;

use crate::common::*;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Recorder};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use relay_models::{CausalConfig, Injection, LoopedConfig, TransformerConfig, stable_id};

on_both!(
    same_seed_gives_the_same_weights,
    ids_are_hashes_of_paths,
    records_keep_ids_and_values
);

#[derive(Default)]
struct Collect {
    path: Vec<String>,
    found: HashMap<String, (ParamId, Vec<f32>)>,
}

impl<B: Backend> ModuleVisitor<B> for Collect {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found
            .insert(self.path.join("."), (param.id, values(param.val())));
    }
}

fn collect<B: Backend>(module: &impl Module<B>) -> HashMap<String, (ParamId, Vec<f32>)> {
    let mut collect = Collect::default();
    module.visit(&mut collect);
    collect.found
}

fn every_option() -> LoopedConfig {
    LoopedConfig {
        injection: Injection::Linear,
        timestep: true,
        norm_state: true,
        ..looped(Default::default())
    }
}

fn same_seed_gives_the_same_weights<B: Backend>() {
    let make = |seed| collect(&every_option().init::<B>(&Default::default(), seed));
    assert_eq!(make(1), make(1));
    assert_eq!(
        make(1),
        collect(&every_option().init::<NdArray>(&Default::default(), 1))
    );
    assert_ne!(
        make(1)["block.layers.0.query"],
        make(2)["block.layers.0.query"]
    );
    assert_ne!(
        make(1)["block.layers.0.query"].1,
        make(1)["block.layers.1.query"].1
    );
    // An option adds parameters and leaves the others as they are.
    let plain = collect(&looped(Default::default()).init::<B>(&Default::default(), 1));
    assert!(plain.iter().all(|(path, found)| make(1)[path] == *found));
}

fn ids_are_hashes_of_paths<B: Backend>() {
    let causal = collect(&causal(Default::default()).init::<B>(&Default::default(), 1));
    let looped = collect(&every_option().init::<B>(&Default::default(), 1));
    for found in [causal, looped] {
        for (path, (id, _)) in &found {
            assert_eq!(*id, stable_id(path), "{path}");
        }
        let ids: std::collections::HashSet<_> = found.values().map(|(id, _)| id.val()).collect();
        assert_eq!(ids.len(), found.len());
    }
}

fn records_keep_ids_and_values<B: Backend>() {
    let device = Default::default();
    let saved = every_option().init::<B>(&device, 1);
    let recorder = BinBytesRecorder::<FullPrecisionSettings>::default();
    let bytes = Recorder::<B>::record(&recorder, saved.clone().into_record(), ()).unwrap();
    let loaded = every_option().init::<B>(&device, 2);
    let loaded = loaded.load_record(Recorder::<B>::load(&recorder, bytes, &device).unwrap());
    assert_eq!(collect(&saved), collect(&loaded));
}

#[test]
fn wrong_settings_are_named() {
    let check = |change: fn(&mut TransformerConfig), field: &str| {
        let mut config = LoopedConfig::default();
        change(&mut config.transformer);
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
        assert!(
            CausalConfig {
                transformer: config.transformer
            }
            .validate()
            .is_err()
        );
    };
    check(|config| config.vocab = 0, "transformer.vocab");
    check(|config| config.d_model = 0, "transformer.d_model");
    check(
        |config| config.d_model = 1 << 22,
        "at most 1.1e12 parameters",
    );
    check(|config| config.layers = 0, "transformer.layers");
    check(|config| config.mlp_ratio = 0, "transformer.mlp_ratio");
    check(|config| config.heads = 0, "transformer.heads");
    check(|config| config.heads = 7, "transformer.heads");
    check(|config| config.d_model = 12, "transformer.d_model");
    check(|config| config.rope_base = 0.5, "transformer.rope_base");
    check(
        |config| config.rope_base = f32::NAN,
        "transformer.rope_base",
    );
    check(|config| config.dropout = 1.0, "transformer.dropout");
    check(|config| config.dropout = f32::NAN, "transformer.dropout");
    LoopedConfig::default().validate().unwrap();
}

#[test]
fn settings_are_read_from_json() {
    let config: LoopedConfig = serde_json::from_str(
        r#"{"transformer": {"d_model": 64, "positions": "alibi"}, "injection": "add", "step_head": false}"#,
    )
    .unwrap();
    assert_eq!(config.transformer.layers, 3);
    assert_eq!(config.injection, Injection::Add);
    assert_eq!(config.transformer.rope_base, 10_000.0);
    // Runs from before there was a choice have to be found equal.
    let written = |config| serde_json::to_string(&config).unwrap();
    assert!(!written(TransformerConfig::default()).contains("rope_base"));
    assert!(written(transformer(Default::default())).contains(r#""rope_base":50.0"#));
    let again: LoopedConfig =
        serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    let error =
        serde_json::from_str::<LoopedConfig>(r#"{"transformer": {"width": 64}}"#).unwrap_err();
    assert!(
        error.to_string().contains("unknown field `width`"),
        "{error}"
    );
}

#[test]
#[should_panic(expected = "transformer.heads")]
fn init_refuses_wrong_settings() {
    let mut config = looped(Default::default());
    config.transformer.heads = 5;
    config.init::<Flex>(&Default::default(), 1);
}
