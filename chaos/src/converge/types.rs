//! Types of columns and literals of them, chosen for what is odd about their text, their JSON or their equality.

/// One type.
#[derive(Debug)]
pub(crate) struct Type {
    /// As it stands in `CREATE TABLE`, with the search path of the schema.
    pub(crate) sql: &'static str,
    /// Literals without quotes and cast.
    pub(crate) values: &'static [&'static str],
}

impl Type {
    /// A literal with its cast, so that it has the type wherever it stands.
    pub(crate) fn literal(&self, value: &str) -> String {
        format!("'{}'::{}", value.replace('\'', "''"), self.sql)
    }
}

/// What a schema has of its own: each type of a user's that [`COLUMNS`] and [`KEYS`] name.
pub(crate) const USER_TYPES: &[&str] = &[
    "CREATE TYPE estado AS ENUM ('nuevo', 'a medias', 'it''s')",
    "CREATE TYPE par AS (a int, b text)",
    "CREATE TYPE caja AS (p par, l int[], d numeric)",
    "CREATE DOMAIN positivo AS int CHECK (VALUE >= 0)",
    "CREATE DOMAIN corto AS text CHECK (length(VALUE) < 12)",
    "CREATE DOMAIN lista AS int[]",
    "CREATE DOMAIN dpar AS par",
    "CREATE DOMAIN seguro AS int NOT NULL",
];

/// The type of a column that must have a value: its domain says so itself.
pub(crate) const NOT_NULL_DOMAIN: Type = Type {
    sql: "seguro",
    values: &["1", "2", "-3"],
};

pub(crate) const INT: Type = Type {
    sql: "int",
    values: &["0", "1", "2", "3", "4", "5", "7", "13"],
};

pub(crate) const TEXT: Type = Type {
    sql: "text",
    values: &[
        "",
        "ñandú €",
        "it's \"q\" \\ b",
        "two\nlines\tand a tab",
        "x",
        "null",
        "{}",
        "😀",
    ],
};

/// Types of further columns.
pub(crate) const COLUMNS: &[Type] = &[
    Type {
        sql: "bool",
        values: &["t", "f"],
    },
    Type {
        sql: "smallint",
        values: &["0", "-32768", "7"],
    },
    Type {
        sql: "bigint",
        values: &["9007199254740993", "-9223372036854775808", "1"],
    },
    Type {
        sql: "numeric",
        values: &[
            "10.50",
            "-0.001",
            "1e20",
            "NaN",
            "123456789012345678901234567890.125",
        ],
    },
    Type {
        sql: "numeric(10,2)",
        values: &["10.5", "0", "-3.145"],
    },
    Type {
        sql: "float8",
        values: &["0.1", "-1e300", "NaN", "Infinity", "1e-7"],
    },
    Type {
        sql: "float4",
        values: &["0.1", "3.4e38", "-0"],
    },
    Type {
        sql: "char(5)",
        values: &["ab", "", "ñ"],
    },
    Type {
        sql: "varchar(20)",
        values: &["corto", " ", "it's"],
    },
    Type {
        sql: "\"char\"",
        values: &["a", "z"],
    },
    Type {
        sql: "name",
        values: &["un nombre", "otro"],
    },
    Type {
        sql: "date",
        values: &["2024-02-29", "infinity", "0044-03-15 BC"],
    },
    Type {
        sql: "timestamptz",
        values: &[
            "2024-03-10 02:30:00-05",
            "infinity",
            "1999-12-31 23:59:59.999999+00",
        ],
    },
    Type {
        sql: "timestamp",
        values: &["2024-03-10 02:30:00", "-infinity", "2024-03-10 02:30:00.5"],
    },
    Type {
        sql: "time",
        values: &["23:59:59.123", "00:00"],
    },
    Type {
        sql: "timetz",
        values: &["23:59:59+05:30", "00:00-03"],
    },
    Type {
        sql: "interval",
        values: &["1 day 2 hours", "-3 months", "1 year 00:00:00.5"],
    },
    Type {
        sql: "bytea",
        values: &["\\x00ff10", "\\x"],
    },
    Type {
        sql: "json",
        values: &[
            "{\"b\":1,  \"a\":[1,2,{\"c\":null}]}",
            "null",
            "\"\\u00f1\"",
            "1e2",
        ],
    },
    Type {
        sql: "jsonb",
        values: &["{\"b\":1,  \"a\":[1.50,2]}", "null", "\"ñ\"", "[]"],
    },
    Type {
        sql: "int[]",
        values: &["{1,NULL,3}", "{}", "{{1,2},{3,4}}", "[2:3]={7,8}"],
    },
    Type {
        sql: "text[]",
        values: &["{\"a b\",NULL,\"c\\\"d\"}", "{NULL}", "{\"NULL\"}"],
    },
    Type {
        sql: "numeric[]",
        values: &["{1.50,NaN}", "{}"],
    },
    Type {
        sql: "json[]",
        values: &["{\"{\\\"a\\\": 1}\",NULL}"],
    },
    Type {
        sql: "uuid",
        values: &[
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "00000000-0000-0000-0000-000000000000",
        ],
    },
    Type {
        sql: "inet",
        values: &["10.0.0.1/8", "::1", "192.168.0.1"],
    },
    Type {
        sql: "macaddr",
        values: &["08:00:2b:01:02:03"],
    },
    Type {
        sql: "int4range",
        values: &["[1,5)", "empty", "(,3]"],
    },
    Type {
        sql: "tstzrange",
        values: &["[\"2024-01-01 00:00:00+00\",\"2024-02-01 00:00:00+00\")", "empty"],
    },
    Type {
        sql: "int4multirange",
        values: &["{[1,3),[5,7)}", "{}"],
    },
    Type {
        sql: "bit(3)",
        values: &["101", "000"],
    },
    Type {
        sql: "varbit",
        values: &["10", ""],
    },
    Type {
        sql: "point",
        values: &["(1.5,-2)", "(0,0)"],
    },
    Type {
        sql: "box",
        values: &["(1,1),(0,0)"],
    },
    Type {
        sql: "money",
        values: &["1234.5", "-1"],
    },
    Type {
        sql: "tsvector",
        values: &["'a':1 'b':2", ""],
    },
    Type {
        sql: "jsonpath",
        values: &["$.a[*]"],
    },
    Type {
        sql: "pg_lsn",
        values: &["16/B374D848", "0/0"],
    },
    Type {
        sql: "oid",
        values: &["4294967295", "1"],
    },
    Type {
        sql: "estado",
        values: &["nuevo", "a medias", "it's"],
    },
    Type {
        sql: "estado[]",
        values: &["{nuevo,\"a medias\"}", "{}"],
    },
    Type {
        sql: "par",
        values: &["(1,x)", "(,)", "(2,\"a \"\"q\"\" b\")"],
    },
    Type {
        sql: "par[]",
        values: &["{\"(1,x)\",NULL}", "{}"],
    },
    Type {
        sql: "caja",
        values: &["(\"(1,x)\",\"{1,2}\",1.50)", "(,,)"],
    },
    Type {
        sql: "positivo",
        values: &["0", "5", "7"],
    },
    Type {
        sql: "corto",
        values: &["", "ñ", "once letras"],
    },
    Type {
        sql: "lista",
        values: &["{1,2}", "{}"],
    },
    Type {
        sql: "dpar",
        values: &["(1,x)", "(2,)"],
    },
];

/// Types of keys, with values that differ in every sense.
pub(crate) const KEYS: &[Type] = &[
    Type {
        sql: "int",
        values: &["1", "2", "3", "4", "5", "6", "-7", "2147483647"],
    },
    Type {
        sql: "bigint",
        values: &["1", "2", "3", "9007199254740993", "9007199254740992", "-5"],
    },
    Type {
        sql: "text",
        values: &["a", "b", "A", "", "ñ", "it's \"q\"", "a b", "null"],
    },
    Type {
        sql: "varchar(10)",
        values: &["a", "b", "A", "", "ñ", "a b"],
    },
    Type {
        sql: "char(3)",
        values: &["a", "b", "ab", "abc", "ñ", "A"],
    },
    Type {
        sql: "uuid",
        values: &[
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "00000000-0000-0000-0000-000000000000",
            "00000000-0000-0000-0000-000000000001",
            "00000000-0000-0000-0000-000000000002",
            "00000000-0000-0000-0000-000000000003",
        ],
    },
    Type {
        sql: "numeric",
        values: &["1", "1.5", "-2", "1000000", "0.001", "3.25"],
    },
    Type {
        sql: "date",
        values: &[
            "2024-02-29",
            "2024-03-01",
            "infinity",
            "0044-03-15 BC",
            "1970-01-01",
        ],
    },
    Type {
        sql: "timestamptz",
        values: &[
            "2024-03-10 02:30:00-05",
            "2024-03-10 03:30:00-05",
            "infinity",
            "1999-12-31 23:59:59.999999+00",
            "2000-01-01 00:00:00+00",
        ],
    },
    Type {
        sql: "bytea",
        values: &["\\x00", "\\x", "\\xff", "\\x00ff", "\\x20"],
    },
    Type {
        sql: "bool",
        values: &["t", "f"],
    },
    Type {
        sql: "inet",
        values: &["10.0.0.1", "10.0.0.1/8", "::1", "10.0.0.2", "10.0.0.3"],
    },
    Type {
        sql: "int[]",
        values: &["{1}", "{1,2}", "{}", "{NULL}", "{3}"],
    },
    Type {
        sql: "jsonb",
        values: &["1", "\"1\"", "null", "{\"a\": 1}", "[]", "{}"],
    },
    Type {
        sql: "int4range",
        values: &["[1,2)", "[1,3)", "empty", "(,1)", "[7,)"],
    },
    Type {
        sql: "interval",
        values: &["1 day", "2 days", "1 mon", "-1 day", "00:00:01"],
    },
    Type {
        sql: "estado",
        values: &["nuevo", "a medias", "it's"],
    },
    Type {
        sql: "positivo",
        values: &["0", "1", "2", "3", "4", "5"],
    },
    Type {
        sql: "corto",
        values: &["", "a", "b", "ñ", "A", "a b"],
    },
    Type {
        sql: "par",
        values: &["(1,x)", "(1,y)", "(2,x)", "(3,)", "(4,\"a b\")"],
    },
    Type {
        sql: "\"char\"",
        values: &["a", "b", "c", "d"],
    },
    Type {
        sql: "name",
        values: &["a", "b", "A", "un nombre"],
    },
];
