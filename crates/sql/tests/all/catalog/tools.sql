-- What dashboards and drivers ask (Grafana, Metabase, DBeaver, Npgsql), in their constructs.

SELECT CASE WHEN quote_ident(t.table_schema) IN (
    SELECT CASE trim(parts[place]) WHEN '"$user"' THEN user ELSE trim(parts[place]) END
    FROM generate_series(
        array_lower(string_to_array(current_setting('search_path'), ','), 1),
        array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS place,
      string_to_array(current_setting('search_path'), ',') parts)
  THEN quote_ident(t.table_name) ELSE quote_ident(t.table_schema) || '.' || quote_ident(t.table_name) END AS "table"
FROM information_schema.tables t WHERE t.table_schema NOT IN ('information_schema', 'pg_catalog')
ORDER BY CASE WHEN quote_ident(t.table_schema) IN (
    SELECT CASE trim(parts[place]) WHEN '"$user"' THEN user ELSE trim(parts[place]) END
    FROM generate_series(
        array_lower(string_to_array(current_setting('search_path'), ','), 1),
        array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS place,
      string_to_array(current_setting('search_path'), ',') parts) THEN 0 ELSE 1 END, 1;
--> events
--> problems
--> rejections
--> sessions

SELECT quote_ident(t.column_name) AS "column", t.data_type AS "type" FROM information_schema.columns t
WHERE CASE WHEN array_length(parse_ident('public.rejections'), 1) = 2
  THEN quote_ident(t.table_schema) = (parse_ident('public.rejections'))[1]
    AND quote_ident(t.table_name) = (parse_ident('public.rejections'))[2]
  ELSE quote_ident(t.table_name) = 'rejections' AND quote_ident(t.table_schema) IN (
    SELECT CASE trim(parts[place]) WHEN '"$user"' THEN user ELSE trim(parts[place]) END
    FROM generate_series(
        array_lower(string_to_array(current_setting('search_path'), ','), 1),
        array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS place,
      string_to_array(current_setting('search_path'), ',') parts) END
ORDER BY t.ordinal_position;
--> application|text
--> token|text
--> received_at|timestamp with time zone
--> "partition"|integer
--> "offset"|bigint
--> code|text
--> field|text
--> message|text
--> sample|text

SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';

WITH rights AS (
  SELECT NULL AS role, all_of.schemaname AS schema, all_of.name AS table,
    pg_catalog.has_any_column_privilege(current_user, '"' || all_of.schemaname || '"."' || all_of.name || '"', 'select') AS select,
    pg_catalog.has_table_privilege(current_user, '"' || all_of.schemaname || '"."' || all_of.name || '"', 'delete') AS delete
  FROM (SELECT schemaname, tablename AS name FROM pg_catalog.pg_tables
    UNION SELECT schemaname, viewname AS name FROM pg_catalog.pg_views
    UNION SELECT schemaname, matviewname AS name FROM pg_catalog.pg_matviews) all_of
  WHERE all_of.schemaname !~ '^pg_' AND pg_catalog.has_schema_privilege(current_user, all_of.schemaname, 'usage'))
SELECT r.* FROM rights r ORDER BY 3;
--> |public|events|true|false
--> |public|problems|true|false
--> |public|rejections|true|false
--> |public|sessions|true|false

SELECT "n"."nspname" AS "schema", "c"."relname" AS "name", "d"."description", "stat"."n_live_tup" AS "rows"
FROM "pg_catalog"."pg_class" AS "c" INNER JOIN "pg_catalog"."pg_namespace" AS "n" ON "c"."relnamespace" = "n"."oid"
LEFT JOIN "pg_catalog"."pg_description" AS "d" ON ("c"."oid" = "d"."objoid") AND ("d"."objsubid" = '0') AND ("d"."classoid" = 'pg_class'::regclass)
LEFT JOIN "pg_stat_user_tables" AS "stat" ON ("n"."nspname" = "stat"."schemaname") AND ("c"."relname" = "stat"."relname")
WHERE "n"."nspname" !~ '^pg_' AND c.relkind IN ('r', 'p', 'v', 'f', 'm') ORDER BY "name";
--> public|events|Events, each once|
--> public|problems|Kinds of problems, and how often|
--> public|rejections|What was refused, and why|
--> public|sessions|Sessions with their figures|

SELECT "c"."column_name" AS "name",
  CASE WHEN "c"."udt_schema" IN ('public', 'pg_catalog') THEN FORMAT('%s', "c"."udt_name") ELSE FORMAT('"%s"."%s"', "c"."udt_schema", "c"."udt_name") END AS "kind",
  "pk"."column_name" IS NOT NULL AS "pk?",
  COL_DESCRIPTION(CAST(CAST(FORMAT('%I.%I', CAST("c"."table_schema" AS TEXT), CAST("c"."table_name" AS TEXT)) AS REGCLASS) AS OID), "c"."ordinal_position") AS "comment"
FROM "information_schema"."columns" AS "c" LEFT JOIN (SELECT "tc"."table_name", "kc"."column_name"
  FROM "information_schema"."table_constraints" AS "tc" INNER JOIN "information_schema"."key_column_usage" AS "kc" ON "tc"."constraint_name" = "kc"."constraint_name"
  WHERE "tc"."constraint_type" = 'PRIMARY KEY') AS "pk" ON "c"."table_name" = "pk"."table_name" AND "c"."column_name" = "pk"."column_name"
WHERE "c"."table_name" = 'problems' ORDER BY "c"."ordinal_position";
--> code|text|false|
--> application|text|false|
--> name|text|false|
--> count|int8|false|
--> first_timestamp|timestamptz|false|
--> last_timestamp|timestamptz|false|

SELECT f.relname, a.attname FROM pg_constraint AS c INNER JOIN pg_class AS f ON c.conrelid = f.oid INNER JOIN pg_attribute AS a ON c.conrelid = a.attrelid
WHERE c.contype = 'f'::char AND a.attnum = ANY(c.conkey);

SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.classoid = 'pg_namespace'::regclass ORDER BY nspname;
--> 13000|13000|information_schema|10||
--> 11|11|pg_catalog|10||
--> 2200|2200|public|10||

SELECT db.oid, db.datname, pg_encoding_to_char(db.encoding) FROM pg_catalog.pg_database db WHERE datname = current_database();
--> 5|eye|UTF8

SELECT c.relname, a.attname, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dep.objid
FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON a.attrelid = c.oid
LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum
LEFT OUTER JOIN pg_depend dep ON dep.refobjid = a.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = a.attnum
WHERE c.oid = 'public.problems'::regclass ORDER BY a.attnum;
--> problems|code||
--> problems|application||
--> problems|name||
--> problems|count||
--> problems|first_timestamp||
--> problems|last_timestamp||

SELECT i.*, i.indkey AS keys, c.relname, pg_catalog.pg_relation_size(i.indexrelid) AS size, pg_catalog.pg_stat_get_numscans(i.indexrelid) AS scans
FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 16384;

SELECT ns.nspname, t.oid, t.typname, t.kind, t.elemtypoid FROM (
  SELECT typ.oid, typ.typname, typ.typnamespace, elem.oid AS elemtypoid, CASE WHEN proc.proname = 'array_recv' THEN 'a' ELSE typ.typtype END AS kind
  FROM pg_type AS typ LEFT JOIN pg_class AS cls ON cls.oid = typ.typrelid LEFT JOIN pg_proc AS proc ON proc.oid = typ.typreceive
  LEFT JOIN pg_range ON pg_range.rngtypid = typ.oid LEFT JOIN pg_type AS elem ON elem.oid = typ.typelem) AS t
JOIN pg_namespace AS ns ON ns.oid = t.typnamespace WHERE t.oid IN (16, 25, 1009) ORDER BY t.oid;
--> pg_catalog|16|bool|b|
--> pg_catalog|25|text|b|
--> pg_catalog|1009|_text|a|25

SELECT typ.oid, att.attname FROM pg_type AS typ JOIN pg_class AS cls ON cls.oid = typ.typrelid JOIN pg_attribute AS att ON att.attrelid = typ.typrelid WHERE typ.typtype = 'c' AND cls.relkind = 'c';

SELECT pg_type.oid, enumlabel FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid ORDER BY oid, enumsortorder;

SELECT t.table_name, (SELECT count(*) FROM information_schema.columns c WHERE c.table_name = t.table_name) AS columns FROM information_schema.tables t ORDER BY 1;
--> events|16
--> problems|6
--> rejections|9
--> sessions|11

SELECT c.relname FROM pg_class c WHERE EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'session_id') ORDER BY 1;
--> events
--> sessions

SELECT tc.constraint_name, kcu.constraint_name, tc.table_name FROM information_schema.table_constraints tc
JOIN information_schema.key_column_usage kcu ON tc.constraint_name = kcu.constraint_name;

SELECT attrelid::regclass AS "table", attname FROM pg_attribute WHERE attrelid::regclass = 'problems'::regclass AND attnum < 3 ORDER BY attnum;
--> problems|code
--> problems|application
