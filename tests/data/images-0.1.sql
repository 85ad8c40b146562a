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
INSERT INTO "studies" VALUES(2,'old/confirm-0.474090');
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
INSERT INTO "study_user_attributes" VALUES(1,1,'manifest','{"beta": 500.0, "bounds": [0.0, 1.0], "seed": 0, "acquisition": "auto", "recommend": "posterior", "noise": "paired", "kernel": "matern", "anchor": "beta500", "weights": "d72f07de6d75e33c", "pipeline": "StableDiffusionPipeline", "scheduler": {"class": "EulerAncestralDiscreteScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "trained_betas": null, "prediction_type": "epsilon", "timestep_spacing": "trailing", "steps_offset": 1, "rescale_betas_zero_snr": false}, "steps": 20, "guidance_scale": 3.0, "negative_prompt": null, "size": [null, null], "dtype": "float32", "plan": "a7591a4dcd43b8e1a262d7083e224c16075cb2c6e886d08a2b32667dce5d0291", "versions": {"torch": "2.13.0+cpu", "diffusers": "0.42.1", "transformers": "5.23.0"}, "reward": "pickscore", "reward_kind": "pickscore", "reward_options": {"model": "c02d9bc1817fd3ba"}, "reward_scale": "cosine", "reward_weights": "616c225251f9631f", "reward clip": {"kind": "clip", "options": {"model": "3ac2a5b4c7849d90", "processor": "3ac2a5b4c7849d90"}, "scale": "cosine", "weights": "2261db484015e893"}, "images": 8, "schedule": "fixed"}');
INSERT INTO "study_user_attributes" VALUES(2,2,'manifest','{"confirms": "old", "lams": [0.0, 1.0, 0.47409], "anchor": "beta500", "beta": 500.0, "weights": "d72f07de6d75e33c", "pipeline": "StableDiffusionPipeline", "scheduler": {"class": "EulerAncestralDiscreteScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "trained_betas": null, "prediction_type": "epsilon", "timestep_spacing": "trailing", "steps_offset": 1, "rescale_betas_zero_snr": false}, "steps": 20, "guidance_scale": 3.0, "negative_prompt": null, "size": [null, null], "dtype": "float32", "plan": "5b918f6531ee9e6914bcde69c1dcb76ce0aaa4781abb4418b9dda8c10affa84e", "versions": {"torch": "2.13.0+cpu", "diffusers": "0.42.1", "transformers": "5.23.0"}, "reward": "pickscore", "reward_kind": "pickscore", "reward_options": {"model": "c02d9bc1817fd3ba"}, "reward_scale": "cosine", "reward_weights": "616c225251f9631f", "reward clip": {"kind": "clip", "options": {"model": "3ac2a5b4c7849d90", "processor": "3ac2a5b4c7849d90"}, "scale": "cosine", "weights": "2261db484015e893"}}');
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
INSERT INTO "trial_params" VALUES(6,6,'lam',0.47409,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
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
INSERT INTO "trial_system_attributes" VALUES(6,6,'fixed_params','{"lam": 0.47409}');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'scores:000000','{"image_ids": [0, 1, 2, 3, 4, 5, 6, 7], "scores": [0.6656454205513, 0.4990539252758026, 0.5192099809646606, 0.6302210092544556, 0.7193638682365417, 0.6051917672157288, 0.5826453566551208, 0.5956865549087524], "seconds": 0.6532908009976381, "of": 8, "others": {"clip": [0.9525507688522339, 0.9334967136383057, 0.9265871047973633, 0.934944748878479, 0.9175036549568176, 0.9300029277801514, 0.9505900740623474, 0.9414013624191284]}}');
INSERT INTO "trial_user_attributes" VALUES(2,2,'scores:000000','{"image_ids": [0, 1, 2, 3, 4, 5, 6, 7], "scores": [0.6360316872596741, 0.4997331500053406, 0.6690199375152588, 0.678084671497345, 0.7582342028617859, 0.6149282455444336, 0.5708839893341064, 0.6176705360412598], "seconds": 0.532171204999031, "of": 8, "others": {"clip": [0.9282147884368896, 0.9069420099258423, 0.9643886089324951, 0.940132737159729, 0.9266185164451599, 0.9190150499343872, 0.7903820872306824, 0.9388076066970825]}}');
INSERT INTO "trial_user_attributes" VALUES(3,3,'scores:000000','{"image_ids": [0, 1, 2, 3, 4, 5, 6, 7], "scores": [0.6968560218811035, 0.5150267481803894, 0.6265929937362671, 0.6548280119895935, 0.7487695217132568, 0.621233344078064, 0.6393103003501892, 0.6454041004180908], "seconds": 1.12849343400012, "of": 8, "others": {"clip": [0.949907124042511, 0.9227124452590942, 0.9579488039016724, 0.9386207461357117, 0.9148207902908325, 0.9267538785934448, 0.8927208781242371, 0.943310558795929]}}');
INSERT INTO "trial_user_attributes" VALUES(4,4,'images','[0, 4]');
INSERT INTO "trial_user_attributes" VALUES(5,4,'scores:000000','{"image_ids": [0, 1, 2, 3], "scores": [0.6077012419700623, 0.6686187982559204, 0.6216431260108948, 0.6932430267333984], "seconds": 0.5167180670032394, "of": 1024, "others": {"clip": [0.947047233581543, 0.9216924905776978, 0.9218685626983643, 0.9054890871047974]}}');
INSERT INTO "trial_user_attributes" VALUES(6,5,'images','[0, 4]');
INSERT INTO "trial_user_attributes" VALUES(7,5,'scores:000000','{"image_ids": [0, 1, 2, 3], "scores": [0.6572518348693848, 0.6245691776275635, 0.6066492795944214, 0.6831316947937012], "seconds": 0.4716454010049347, "of": 1024, "others": {"clip": [0.9458922147750854, 0.5744237899780273, 0.9243746995925903, 0.8861449956893921]}}');
INSERT INTO "trial_user_attributes" VALUES(8,6,'images','[0, 4]');
INSERT INTO "trial_user_attributes" VALUES(9,6,'scores:000000','{"image_ids": [0, 1, 2, 3], "scores": [0.6419388055801392, 0.7085802555084229, 0.6213575601577759, 0.692422091960907], "seconds": 0.8662676040039514, "of": 1024, "others": {"clip": [0.9333521127700806, 0.8690305352210999, 0.9221042394638062, 0.8968502283096313]}}');
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
INSERT INTO "trial_values" VALUES(1,1,0,6.02127235382795333862e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,6.30573302507400512695e-01,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,6.43502630293369293212e-01,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,0.647801548242569,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,6.42900496721267700195e-01,'FINITE');
INSERT INTO "trial_values" VALUES(6,6,0,6.66074678301811218261e-01,'FINITE');
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
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-26 03:07:07.870194','2026-11-26 03:07:08.609901');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-26 03:07:08.643030','2026-11-26 03:07:09.217646');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-26 03:07:09.246007','2026-11-26 03:07:10.419179');
INSERT INTO "trials" VALUES(4,0,2,'COMPLETE','2026-11-26 03:07:10.840130','2026-11-26 03:07:11.399344');
INSERT INTO "trials" VALUES(5,1,2,'COMPLETE','2026-11-26 03:07:11.437434','2026-11-26 03:07:11.939470');
INSERT INTO "trials" VALUES(6,2,2,'COMPLETE','2026-11-26 03:07:11.977048','2026-11-26 03:07:12.876610');
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
