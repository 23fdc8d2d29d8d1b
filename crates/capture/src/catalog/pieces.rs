//! Pieces of SQL that several questions to the catalogue have. Macros, because constants cannot be put together otherwise.

/// From a column of an index, `k (…, class)`, to the operator that says whether two values of it are equal: that of the index, which may be an
/// extension's. [`equality_name`] is its name.
macro_rules! equality {
    () => {
        " JOIN pg_opclass p ON p.oid = k.class \
          JOIN pg_amop m ON m.amopfamily = p.opcfamily AND m.amopstrategy = 3 \
           AND m.amoplefttype = p.opcintype AND m.amoprighttype = p.opcintype \
          JOIN pg_operator o ON o.oid = m.amopopr JOIN pg_namespace s ON s.oid = o.oprnamespace "
    };
}

/// As SQL takes it, whatever the search path.
macro_rules! equality_name {
    () => {
        "format('OPERATOR(%I.%s)', s.nspname, o.oprname)"
    };
}

/// The table `$1` and the roots above it, as `above (oid)`.
macro_rules! above {
    () => {
        "WITH RECURSIVE above AS ( \
           SELECT $1::oid AS oid \
           UNION SELECT i.inhparent FROM above a JOIN pg_class c ON c.oid = a.oid AND c.relispartition JOIN pg_inherits i ON i.inhrelid = a.oid) "
    };
}

/// The types `$1` with all that they are made of, as `wanted (oid)`.
macro_rules! types_with_parts {
    () => {
        "WITH RECURSIVE wanted AS ( \
           SELECT unnest($1::oid[]) AS oid \
           UNION \
           SELECT part.oid FROM wanted w JOIN pg_type t ON t.oid = w.oid CROSS JOIN LATERAL ( \
             SELECT t.typbasetype WHERE t.typtype = 'd' \
             UNION ALL SELECT t.typelem WHERE t.typelem <> 0 \
             UNION ALL SELECT a.atttypid FROM pg_attribute a \
                        WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped) AS part(oid)) "
    };
}

pub(crate) use {above, equality, equality_name, types_with_parts};
