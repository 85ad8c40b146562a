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
INSERT INTO "lamsearch_owners" VALUES('trial',6,'35e2a96193c84ac5b664390c0ce26586','vm 9f4fa3e6-6eb0-48c0-881c-e820feef7322 pid:[4026531836]',27550,1.79561300856829214088e+09);
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'function');
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
INSERT INTO "study_user_attributes" VALUES(1,1,'manifest','{"beta": 500.0, "bounds": [0.0, 1.0], "seed": 3, "acquisition": "auto", "recommend": "posterior", "noise": "paired", "kernel": "matern"}');
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
INSERT INTO "trial_params" VALUES(3,3,'lam',0.294509,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(4,4,'lam',0.648895,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(5,5,'lam',0.535,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(6,6,'lam',0.735,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
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
INSERT INTO "trial_system_attributes" VALUES(3,3,'lamsearch:proposed:lam','0.294509');
INSERT INTO "trial_system_attributes" VALUES(4,4,'lamsearch:proposed:lam','0.648895');
INSERT INTO "trial_system_attributes" VALUES(5,5,'lamsearch:proposed:lam','0.535');
INSERT INTO "trial_system_attributes" VALUES(6,6,'lamsearch:proposed:lam','0.735');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'scores:000000','{"image_ids": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "scores": [-0.26, -0.305969769413186, -0.4016146836547142, -0.4589992496600445, -0.4253643620863612, -0.3316337814536774, -0.2639829713349634, -0.2846097745656695, -0.37455000338086136, -0.4511130261884677, -0.44390715290764526, -0.3595574302011949], "seconds": 0.0005966769999758981}');
INSERT INTO "trial_user_attributes" VALUES(2,2,'scores:000000','{"image_ids": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "scores": [-0.040000000000000036, -0.09516372329582326, -0.2099376203856571, -0.2787990995920535, -0.23843723450363347, -0.12596053774441288, -0.04477956560195612, -0.06953172947880347, -0.17746000405703366, -0.26933563142616124, -0.26068858348917434, -0.15946891624143394], "seconds": 0.000233788000059576}');
INSERT INTO "trial_user_attributes" VALUES(3,3,'scores:000000','{"image_ids": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "scores": [0.012565428919000046, -0.03611204265820758, -0.13739061450940745, -0.19815523474467053, -0.1625391917500996, -0.06328771120310556, 0.008347853403058894, -0.013493905666181652, -0.10873177585100015, -0.18980449851541556, -0.18217418632778076, -0.09285611312441963], "seconds": 0.0002334669998163008}');
INSERT INTO "trial_user_attributes" VALUES(4,4,'scores:000000','{"image_ids": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "scores": [0.11058717897500002, 0.05865149885714011, -0.049406116709739406, -0.11423799430667547, -0.07623800465856706, 0.029656836998045832, 0.1060873016031564, 0.08278357247597244, -0.018829009294626164, -0.10532830463918086, -0.09718726032984655, -0.0018907149602757994], "seconds": 0.00023099200006981846}');
INSERT INTO "trial_user_attributes" VALUES(5,5,'scores:000000','{"image_ids": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "scores": [0.10647500000000001, 0.05558646525960308, -0.050292454805768654, -0.1138171693736693, -0.07658334882960183, 0.02717640393077915, 0.10206585073219553, 0.07923197955580383, -0.020331853742613513, -0.10508711999063373, -0.09711021826876329, -0.0037350752327227708], "seconds": 0.0002036509999925329}');
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
INSERT INTO "trial_values" VALUES(1,1,0,-3.63441850403898814025e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,-1.64130220484678596148e-01,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,-9.69693326690191370609e-02,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,-6.27925133246637606071e-03,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,-8.03512839711595892866e-03,'FINITE');
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
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-25 13:21:51.387294','2026-11-25 13:21:52.521004');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-25 13:21:52.984477','2026-11-25 13:21:53.774290');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-25 13:21:54.343099','2026-11-25 13:21:54.988896');
INSERT INTO "trials" VALUES(4,3,1,'COMPLETE','2026-11-25 13:21:55.435424','2026-11-25 13:21:56.164849');
INSERT INTO "trials" VALUES(5,4,1,'COMPLETE','2026-11-25 13:21:56.465322','2026-11-25 13:21:57.935254');
INSERT INTO "trials" VALUES(6,5,1,'RUNNING','2026-11-25 13:21:58.491027',NULL);
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
