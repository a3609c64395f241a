BEGIN TRANSACTION;
CREATE TABLE account (
    app INTEGER NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (app, name)
) WITHOUT ROWID;
INSERT INTO "account" VALUES(1,'a-first',2,'[2,"a-first",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'a-last',4,'[4,"a-last",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'ann',1,'[1,"ann",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'b-alone',6,'[6,"b-alone",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'bob',3,'[3,"bob",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'browser-first',20,'[20,"browser-first",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'browser-last',22,'[22,"browser-last",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'browser-port',24,'[24,"browser-port",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'c-first',8,'[8,"c-first",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'c-last',10,'[10,"c-last",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'calls-only',26,'[26,"calls-only",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'cid',5,'[5,"cid",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'dan',7,'[7,"dan",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'eve',9,'[9,"eve",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'f-development',30,'[30,"f-development",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'f-production',32,'[32,"f-production",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'fay',11,'[11,"fay",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'google',16,'[16,"google",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'gus',13,'[13,"gus",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'hal',15,'[15,"hal",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'ian',17,'[17,"ian",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'joe',19,'[19,"joe",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'kim',21,'[21,"kim",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'leo',23,'[23,"leo",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'list',18,'[18,"list",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'mia',25,'[25,"mia",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'ned',27,'[27,"ned",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'no-hex',14,'[14,"no-hex",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'nothing',28,'[28,"nothing",1,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'oda',29,'[29,"oda",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'pam',31,'[31,"pam",0,[],{},"","",0]');
INSERT INTO "account" VALUES(1,'too-short',12,'[12,"too-short",1,[],{},"","",0]');
INSERT INTO "account" VALUES(2,'a-elsewhere',2,'[2,"a-elsewhere",1,[],{},"","",0]');
INSERT INTO "account" VALUES(2,'ann',1,'[1,"ann",0,[],{},"","",0]');
CREATE TABLE app (
    app INTEGER PRIMARY KEY,
    doc BLOB NOT NULL
);
INSERT INTO "app" VALUES(1,X'8FA873646B617070696401A36B6579C400A66170706B6579C400A661646D696E7391A561646D696EAA69735F656E61626C6564C3AF69735F707573685F656E61626C6564C3A770726F66696C65AA636F6D70617469626C65AA6F776E5F6C696D697473C0AD6465766963655F706F6C696379A46C617374A561636B5F7305A574746C5F73CE00015180B363616E5F64656C6574655F6163636F756E7473C3B07265696D706F72745F61667465725F7300AA617474725F6E616D657380AA617474725F747970657380');
INSERT INTO "app" VALUES(2,X'8FA873646B617070696402A36B6579C400A66170706B6579C400A661646D696E7391A561646D696EAA69735F656E61626C6564C3AF69735F707573685F656E61626C6564C3A770726F66696C65AA636F6D70617469626C65AA6F776E5F6C696D697473C0AD6465766963655F706F6C696379A46C617374A561636B5F7305A574746C5F73CE00015180B363616E5F64656C6574655F6163636F756E7473C3B07265696D706F72745F61667465725F7300AA617474725F6E616D657380AA617474725F747970657380');
CREATE TABLE audience (
    app INTEGER NOT NULL,
    task INTEGER NOT NULL,
    members BLOB NOT NULL,
    PRIMARY KEY (app, task)
);
CREATE TABLE block (
    app INTEGER NOT NULL,
    task INTEGER NOT NULL,
    line INTEGER NOT NULL,
    job INTEGER NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    channel TEXT NOT NULL,
    code TEXT NOT NULL,
    info TEXT NOT NULL,
    members BLOB NOT NULL,
    PRIMARY KEY (app, task, line)
);
CREATE TABLE change (
    app INTEGER NOT NULL,
    position INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (app, position)
);
INSERT INTO "change" VALUES(1,1,X'919401909001');
INSERT INTO "change" VALUES(1,2,X'919402909001');
INSERT INTO "change" VALUES(1,3,X'919403909001');
INSERT INTO "change" VALUES(1,4,X'919404909001');
INSERT INTO "change" VALUES(1,5,X'919405909001');
INSERT INTO "change" VALUES(1,6,X'919406909001');
INSERT INTO "change" VALUES(1,7,X'919407909001');
INSERT INTO "change" VALUES(1,8,X'919408909001');
INSERT INTO "change" VALUES(1,9,X'919409909001');
INSERT INTO "change" VALUES(1,10,X'91940A909001');
INSERT INTO "change" VALUES(1,11,X'91940B909001');
INSERT INTO "change" VALUES(1,12,X'91940C909001');
INSERT INTO "change" VALUES(1,13,X'91940D909001');
INSERT INTO "change" VALUES(1,14,X'91940E909001');
INSERT INTO "change" VALUES(1,15,X'91940F909001');
INSERT INTO "change" VALUES(1,16,X'919410909001');
INSERT INTO "change" VALUES(1,17,X'919411909001');
INSERT INTO "change" VALUES(1,18,X'919412909001');
INSERT INTO "change" VALUES(1,19,X'919413909001');
INSERT INTO "change" VALUES(1,20,X'919414909001');
INSERT INTO "change" VALUES(1,21,X'919415909001');
INSERT INTO "change" VALUES(1,22,X'919416909001');
INSERT INTO "change" VALUES(1,23,X'919417909001');
INSERT INTO "change" VALUES(1,24,X'919418909001');
INSERT INTO "change" VALUES(1,25,X'919419909001');
INSERT INTO "change" VALUES(1,26,X'91941A909001');
INSERT INTO "change" VALUES(1,27,X'91941B909001');
INSERT INTO "change" VALUES(1,28,X'91941C909001');
INSERT INTO "change" VALUES(1,29,X'91941D909001');
INSERT INTO "change" VALUES(1,30,X'91941E909001');
INSERT INTO "change" VALUES(1,31,X'91941F909001');
INSERT INTO "change" VALUES(1,32,X'919420909001');
INSERT INTO "change" VALUES(2,1,X'919401909001');
INSERT INTO "change" VALUES(2,2,X'919402909001');
CREATE TABLE credential (
    app INTEGER NOT NULL,
    number INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (app, number)
);
CREATE TABLE dedup (
    app INTEGER NOT NULL,
    key TEXT NOT NULL,
    at REAL NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (app, key)
) WITHOUT ROWID;
CREATE TABLE deleted_account (
    app INTEGER NOT NULL,
    name TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (app, name)
) WITHOUT ROWID;
CREATE TABLE device (
    app INTEGER NOT NULL,
    number INTEGER NOT NULL,
    registration_id TEXT NOT NULL,
    account INTEGER NOT NULL,
    user INTEGER NOT NULL,
    route BLOB,
    doc TEXT NOT NULL,
    PRIMARY KEY (app, number)
);
INSERT INTO "device" VALUES(1,1,'a-first',2,1,X'53A14830E56419B3B3D21BE73D2AD06F','{"number":1,"registration_id":"a-first","account":2,"user":1,"user_name":"ann","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["apns",1,"a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1","production"],"route_at":1767225600.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767225600.0,"seen_at":1767225600.0}');
INSERT INTO "device" VALUES(1,2,'a-last',4,3,X'C7A87B16EE364E2737F2559C0223170A','{"number":2,"registration_id":"a-last","account":4,"user":3,"user_name":"bob","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["apns",1,"A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1","production"],"route_at":1767225660.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767225660.0,"seen_at":1767225660.0}');
INSERT INTO "device" VALUES(1,3,'b-alone',6,5,X'A7DE7C1E728B995986098C968BABCC78','{"number":3,"registration_id":"b-alone","account":6,"user":5,"user_name":"cid","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["apns",1,"<b1b1b1b1 b1b1b1b1 b1b1b1b1 b1b1b1b1 b1b1b1b1 b1b1b1b1 b1b1b1b1 b1b1b1b1>","production"],"route_at":1767225720.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767225720.0,"seen_at":1767225720.0}');
INSERT INTO "device" VALUES(1,4,'c-first',8,7,X'2749F8859673047B6CA5ED1111F98386','{"number":4,"registration_id":"c-first","account":8,"user":7,"user_name":"dan","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["apns",1,"c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1\nc1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1","production"],"route_at":1767225780.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767225780.0,"seen_at":1767225780.0}');
INSERT INTO "device" VALUES(1,5,'c-last',10,9,X'8FA21E424BA0D1A521837D6D2F18279D','{"number":5,"registration_id":"c-last","account":10,"user":9,"user_name":"eve","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["apns",1,"c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1","production"],"route_at":1767225840.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767225840.0,"seen_at":1767225840.0}');
INSERT INTO "device" VALUES(1,6,'too-short',12,11,X'B4FA33623C5E18786560C102C5D54F09','{"number":6,"registration_id":"too-short","account":12,"user":11,"user_name":"fay","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["apns",1,"abc","production"],"route_at":1767225900.0,"epoch":1,"voip_token":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767225900.0,"seen_at":1767225900.0}');
INSERT INTO "device" VALUES(1,7,'no-hex',14,13,X'7967EFFF78371438DF12D39F43B4809D','{"number":7,"registration_id":"no-hex","account":14,"user":13,"user_name":"gus","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["apns",1,"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz","production"],"route_at":1767225960.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767225960.0,"seen_at":1767225960.0}');
INSERT INTO "device" VALUES(1,8,'google',16,15,X'15E089E001A83AD10EB553C659E4E94B','{"number":8,"registration_id":"google","account":16,"user":15,"user_name":"hal","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["fcm",2,"fcm-token-of-nobody:APA91b-example","production"],"route_at":1767226020.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767226020.0,"seen_at":1767226020.0}');
INSERT INTO "device" VALUES(1,9,'list',18,17,X'C9895F293FEAAA920D88086EA2B593A9','{"number":9,"registration_id":"list","account":18,"user":17,"user_name":"ian","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["xiaomi",3,"one,two","production"],"route_at":1767226080.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767226080.0,"seen_at":1767226080.0}');
INSERT INTO "device" VALUES(1,10,'browser-first',20,19,X'754ADA565591A2DD355F53DBC650A768','{"number":10,"registration_id":"browser-first","account":20,"user":19,"user_name":"joe","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["webpush",4,"{\"endpoint\": \"https://push.example.com/1\", \"expirationTime\": null, \"keys\": {\"p256dh\": \"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4\", \"auth\": \"BTBZMqHH6r4Tts7J_aSIgg\"}}","production"],"route_at":1767226140.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767226140.0,"seen_at":1767226140.0}');
INSERT INTO "device" VALUES(1,11,'browser-last',22,21,X'F572D37E25764FD5BC032EABACDA7D98','{"number":11,"registration_id":"browser-last","account":22,"user":21,"user_name":"kim","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["webpush",4,"{\"keys\": {\"p256dh\": \"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4\", \"auth\": \"BTBZMqHH6r4Tts7J_aSIgg\"}, \"expirationTime\": null, \"endpoint\": \"https://push.example.com/1\"}","production"],"route_at":1767226200.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767226200.0,"seen_at":1767226200.0}');
INSERT INTO "device" VALUES(1,12,'browser-port',24,23,X'516F03AF762648D296F5A98B1347932D','{"number":12,"registration_id":"browser-port","account":24,"user":23,"user_name":"leo","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["webpush",4,"{\"endpoint\": \"https://Push.example.com:443/2\", \"expirationTime\": null, \"keys\": {\"p256dh\": \"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4\", \"auth\": \"BTBZMqHH6r4Tts7J_aSIgg\"}}","production"],"route_at":1767226260.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767226260.0,"seen_at":1767226260.0}');
INSERT INTO "device" VALUES(1,13,'calls-only',26,25,NULL,'{"number":13,"registration_id":"calls-only","account":26,"user":25,"user_name":"mia","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":null,"route_at":0.0,"epoch":0,"voip_token":"<e1e1e1e1 e1e1e1e1 e1e1e1e1 e1e1e1e1 e1e1e1e1 e1e1e1e1 e1e1e1e1 e1e1e1e1>","live_tokens":{"ride":"E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1","old":"?"},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767226320.0,"seen_at":1767226320.0}');
INSERT INTO "device" VALUES(1,14,'nothing',28,27,NULL,'{"number":14,"registration_id":"nothing","account":28,"user":27,"user_name":"ned","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":null,"route_at":0.0,"epoch":0,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767226380.0,"seen_at":1767226380.0}');
INSERT INTO "device" VALUES(1,15,'f-development',30,29,X'A7AB65B8E2F67745F7232C043147C5DE','{"number":15,"registration_id":"f-development","account":30,"user":29,"user_name":"oda","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["apns",1,"f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1","development"],"route_at":1767226440.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767226440.0,"seen_at":1767226440.0}');
INSERT INTO "device" VALUES(1,16,'f-production',32,31,X'19617AB8B5A2B4DA474AF4FC59DB38EA','{"number":16,"registration_id":"f-production","account":32,"user":31,"user_name":"pam","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["apns",1,"f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1","production"],"route_at":1767226500.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767226500.0,"seen_at":1767226500.0}');
INSERT INTO "device" VALUES(2,1,'a-elsewhere',2,1,X'C7A87B16EE364E2737F2559C0223170A','{"number":1,"registration_id":"a-elsewhere","account":2,"user":1,"user_name":"ann","secret_hash":"BDpxh3TFcr2KJa2+sb/NXAJWrhHOz5+cP5JdDlK+r4k=","route":["apns",1,"A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1","production"],"route_at":1767226560.0,"epoch":1,"voip_token":"","live_tokens":{},"language":"","platform":"","model":"","system_version":"","sdk_version":"","push_version":"","is_notify_on":true,"is_registered":true,"badge":0,"login_at":1767226560.0,"seen_at":1767226560.0}');
CREATE TABLE handle (
    app INTEGER NOT NULL,
    task INTEGER NOT NULL,
    device INTEGER NOT NULL,
    until REAL NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (app, task, device)
) WITHOUT ROWID;
CREATE TABLE job (
    app INTEGER NOT NULL,
    number INTEGER NOT NULL,
    task INTEGER NOT NULL,
    queue TEXT NOT NULL,
    lane INTEGER NOT NULL,
    not_before REAL NOT NULL,
    attempt INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    begun_at REAL,
    holder TEXT,
    leased_until REAL,
    body BLOB NOT NULL,
    PRIMARY KEY (app, number)
);
CREATE TABLE push_use (
    app INTEGER PRIMARY KEY,
    doc BLOB NOT NULL
);
CREATE TABLE report (
    app INTEGER NOT NULL,
    task INTEGER NOT NULL,
    line INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    channel TEXT NOT NULL,
    at INTEGER NOT NULL,
    code TEXT NOT NULL,
    members BLOB NOT NULL,
    PRIMARY KEY (app, task, line)
);
CREATE TABLE tally (
    app INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    term INTEGER NOT NULL,
    device INTEGER NOT NULL,
    task INTEGER NOT NULL,
    job INTEGER NOT NULL,
    credential INTEGER NOT NULL,
    change INTEGER NOT NULL,
    line INTEGER NOT NULL,
    accounts INTEGER NOT NULL,
    tags_carried INTEGER NOT NULL
);
INSERT INTO "tally" VALUES(1,32,0,16,0,0,0,32,0,32,0);
INSERT INTO "tally" VALUES(2,2,0,1,0,0,0,2,0,2,0);
CREATE TABLE task (
    app INTEGER NOT NULL,
    number INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    ended_at REAL,
    recalled_at REAL,
    doc BLOB NOT NULL,
    PRIMARY KEY (app, number)
);
CREATE TABLE term (
    app INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    account_type INTEGER NOT NULL,
    holders INTEGER NOT NULL,
    PRIMARY KEY (app, kind, name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX account_number ON account (app, number);
CREATE UNIQUE INDEX term_number ON term (app, number);
CREATE INDEX term_empty ON term (app, number) WHERE holders = 0;
CREATE UNIQUE INDEX device_registration ON device (app, registration_id);
CREATE UNIQUE INDEX device_route ON device (app, route) WHERE route IS NOT NULL;
CREATE INDEX device_account ON device (app, account);
CREATE INDEX device_user ON device (app, user) WHERE user <> 0;
CREATE UNIQUE INDEX task_id ON task (app, task_id);
CREATE INDEX task_living ON task (app, number) WHERE ended_at IS NULL;
CREATE INDEX task_ended ON task (app, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX task_recalled ON task (app, recalled_at) WHERE recalled_at IS NOT NULL;
CREATE INDEX dedup_at ON dedup (app, at);
CREATE INDEX job_free ON job (app, queue, lane, not_before, number) WHERE holder IS NULL;
CREATE INDEX job_held ON job (app, queue, lane, leased_until, holder) WHERE holder IS NOT NULL;
CREATE INDEX job_task ON job (app, task, number);
CREATE INDEX handle_until ON handle (app, until);
COMMIT;
PRAGMA user_version = 2;
