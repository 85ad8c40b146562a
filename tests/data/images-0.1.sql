BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE lamsearch_owners (
	kind VARCHAR(8) NOT NULL, 
	item INTEGER NOT NULL, 
	owner VARCHAR(32) NOT NULL, 
	host VARCHAR(256) NOT NULL, 
	pid INTEGER NOT NULL, 
	expires FLOAT NOT NULL, 
	PRIMARY KEY (kind, item)
);
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'old');
INSERT INTO "studies" VALUES(2,'old/confirm-0.486580');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MAXIMIZE',2,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'manifest','{"beta": 500.0, "bounds": [0.0, 1.0], "seed": 0, "acquisition": "auto", "recommend": "posterior", "noise": "paired", "kernel": "matern", "anchor": "beta500", "weights": "e573331255d43add", "pipeline": "StableDiffusionPipeline", "scheduler": {"class": "EulerAncestralDiscreteScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "trained_betas": null, "prediction_type": "epsilon", "timestep_spacing": "trailing", "steps_offset": 1, "rescale_betas_zero_snr": false}, "steps": 20, "guidance_scale": 3.0, "negative_prompt": null, "size": [null, null], "dtype": "float32", "plan": "a7591a4dcd43b8e1a262d7083e224c16075cb2c6e886d08a2b32667dce5d0291", "versions": {"torch": "2.13.0+cpu", "diffusers": "0.42.1", "transformers": "5.23.0"}, "reward": "pickscore", "reward_kind": "pickscore", "reward_options": {"model": "0031cad2305ca38d"}, "reward_scale": "cosine", "reward_weights": "786c856f592a0ccd", "reward clip": {"kind": "clip", "options": {"model": "3ac2a5b4c7849d90", "processor": "3ac2a5b4c7849d90"}, "scale": "cosine", "weights": "2261db484015e893"}, "images": 8, "schedule": "fixed"}');
INSERT INTO "study_user_attributes" VALUES(2,2,'manifest','{"confirms": "old", "lams": [0.0, 1.0, 0.48658], "anchor": "beta500", "beta": 500.0, "weights": "e573331255d43add", "pipeline": "StableDiffusionPipeline", "scheduler": {"class": "EulerAncestralDiscreteScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "trained_betas": null, "prediction_type": "epsilon", "timestep_spacing": "trailing", "steps_offset": 1, "rescale_betas_zero_snr": false}, "steps": 20, "guidance_scale": 3.0, "negative_prompt": null, "size": [null, null], "dtype": "float32", "plan": "5b918f6531ee9e6914bcde69c1dcb76ce0aaa4781abb4418b9dda8c10affa84e", "versions": {"torch": "2.13.0+cpu", "diffusers": "0.42.1", "transformers": "5.23.0"}, "reward": "pickscore", "reward_kind": "pickscore", "reward_options": {"model": "0031cad2305ca38d"}, "reward_scale": "cosine", "reward_weights": "786c856f592a0ccd", "reward clip": {"kind": "clip", "options": {"model": "3ac2a5b4c7849d90", "processor": "3ac2a5b4c7849d90"}, "scale": "cosine", "weights": "2261db484015e893"}}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'lam',0.0,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(2,2,'lam',1.0,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(3,3,'lam',0.372504,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(4,4,'lam',0.0,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(5,5,'lam',1.0,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(6,6,'lam',0.48658,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'lamsearch:proposed:lam','0.0');
INSERT INTO "trial_system_attributes" VALUES(2,2,'lamsearch:proposed:lam','1.0');
INSERT INTO "trial_system_attributes" VALUES(3,3,'lamsearch:proposed:lam','0.372504');
INSERT INTO "trial_system_attributes" VALUES(4,4,'fixed_params','{"lam": 0.0}');
INSERT INTO "trial_system_attributes" VALUES(5,5,'fixed_params','{"lam": 1.0}');
INSERT INTO "trial_system_attributes" VALUES(6,6,'fixed_params','{"lam": 0.48658}');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'scores:000000','{"image_ids": [0, 1, 2, 3, 4, 5, 6, 7], "scores": [0.6363055109977722, 0.6623296737670898, 0.5849041938781738, 0.6740916967391968, 0.686722457408905, 0.587489902973175, 0.6823166608810425, 0.5836895108222961], "seconds": 2.783753200000092, "of": 8, "others": {"clip": [0.9525507688522339, 0.9334967136383057, 0.9265871047973633, 0.934944748878479, 0.9175036549568176, 0.9300029277801514, 0.9505900740623474, 0.9414013028144836]}}');
INSERT INTO "trial_user_attributes" VALUES(2,2,'scores:000000','{"image_ids": [0, 1, 2, 3, 4, 5, 6, 7], "scores": [0.6703034043312073, 0.6761348247528076, 0.6772136688232422, 0.6824373602867126, 0.7101238965988159, 0.5873563289642334, 0.6638708114624023, 0.5958724021911621], "seconds": 3.8237881909999487, "of": 8, "others": {"clip": [0.9450963139533997, 0.9126999974250793, 0.9610544443130493, 0.9325025677680969, 0.9193472862243652, 0.9286203384399414, 0.7646353244781494, 0.9447588920593262]}}');
INSERT INTO "trial_user_attributes" VALUES(3,3,'scores:000000','{"image_ids": [0, 1, 2, 3, 4, 5, 6, 7], "scores": [0.6975242495536804, 0.6670578718185425, 0.67435622215271, 0.6738941669464111, 0.7074576020240784, 0.5963562726974487, 0.6979464888572693, 0.6064203977584839], "seconds": 7.49888540500001, "of": 8, "others": {"clip": [0.9562947154045105, 0.9289596080780029, 0.9543464183807373, 0.9334414601325989, 0.9111549854278564, 0.9290409684181213, 0.9002140760421753, 0.9426839351654053]}}');
INSERT INTO "trial_user_attributes" VALUES(4,4,'images','[0, 4]');
INSERT INTO "trial_user_attributes" VALUES(5,4,'scores:000000','{"image_ids": [0, 1, 2, 3], "scores": [0.5926415920257568, 0.6349133253097534, 0.6098726987838745, 0.6323716640472412], "seconds": 2.4850006489999714, "of": 1024, "others": {"clip": [0.947047233581543, 0.9216924905776978, 0.9218685626983643, 0.9054890871047974]}}');
INSERT INTO "trial_user_attributes" VALUES(6,5,'images','[0, 4]');
INSERT INTO "trial_user_attributes" VALUES(7,5,'scores:000000','{"image_ids": [0, 1, 2, 3], "scores": [0.637494683265686, 0.4506511390209198, 0.6346977949142456, 0.6141825914382935], "seconds": 2.8005963819999806, "of": 1024, "others": {"clip": [0.9492771029472351, 0.6371869444847107, 0.9194335341453552, 0.9272903203964233]}}');
INSERT INTO "trial_user_attributes" VALUES(8,6,'images','[0, 4]');
INSERT INTO "trial_user_attributes" VALUES(9,6,'scores:000000','{"image_ids": [0, 1, 2, 3], "scores": [0.5919687151908875, 0.6354504227638245, 0.6208685040473938, 0.6218631863594055], "seconds": 4.623486352999976, "of": 1024, "others": {"clip": [0.9452142715454102, 0.789226233959198, 0.9170446395874023, 0.915475070476532]}}');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,6.37231200933456420898e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,6.57914087176322937011e-01,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,0.665126658976078,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,6.1744982004165649414e-01,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,5.84256552159786224365e-01,'FINITE');
INSERT INTO "trial_values" VALUES(6,6,0,6.17537707090377807617e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-25 12:37:26.948302','2026-11-25 12:37:30.162232');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-25 12:37:30.288326','2026-11-25 12:37:34.347939');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-25 12:37:34.516012','2026-11-25 12:37:42.348821');
INSERT INTO "trials" VALUES(4,0,2,'COMPLETE','2026-11-25 12:37:44.321536','2026-11-25 12:37:47.037461');
INSERT INTO "trials" VALUES(5,1,2,'COMPLETE','2026-11-25 12:37:47.247964','2026-11-25 12:37:50.296420');
INSERT INTO "trials" VALUES(6,2,2,'COMPLETE','2026-11-25 12:37:50.580791','2026-11-25 12:37:55.556189');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
