# A program that keeps notes, with DBD::SQLite, and knows nothing of sync.
#
#     perl writer.pl DATABASE ROUNDS STOP
#
# What it does and prints: see writer.py.

use strict;
use warnings;
use utf8;
use DBI qw(:sql_types);
use Time::HiRes qw(sleep);

use constant { PAUSE_SECONDS => 0.05, KEPT_ROUNDS => 6 };

binmode STDOUT, ':encoding(UTF-8)';
$| = 1;

my ($database, $rounds, $stop) = @ARGV;
my $db = DBI->connect("dbi:SQLite:dbname=$database", '', '',
    { RaiseError => 1, PrintError => 0, sqlite_unicode => 1 });
$db->sqlite_busy_timeout(5000);
$db->do('PRAGMA foreign_keys = ON');

my $n;

# Print what a statement answers; the last id.
sub run {
    my ($sql, @values) = @_;
    my $changed = eval { $db->do($sql, undef, @values) };
    if (!defined $changed) {
        my $error = $db->errstr;
        die $error unless $error =~ /constraint failed/;
        print "$n $error\n";
        return 0;
    }
    print "$n $changed\n";
    return $db->sqlite_last_insert_rowid;
}

# Print the rows that a statement returns.
sub rows {
    my ($sql, @values) = @_;
    for my $row (@{ $db->selectall_arrayref($sql, undef, @values) }) {
        print join(' ', $n, map { $_ // 'NULL' } @$row), "\n";
    }
    return;
}

sub transaction {
    my ($work) = @_;
    $db->begin_work;
    my @answer = $work->();
    $db->commit;
    return @answer;
}

sub insert {
    my ($first, $second) = transaction(sub {
        run('INSERT INTO note VALUES (?, ?, ?, ?)', "note $n", "title $n", "ünï ☃ $n", $n);
        my $add = 'INSERT INTO item (note_id, v) VALUES (?, ?)';
        my @ids = map { run($add, "note $n", $n + $_) } 0, 1;
        print "$n @ids\n";
        my $tag = $db->prepare('INSERT INTO tag VALUES (?, ?, ?)');
        $tag->execute(@$_)
            for [$ids[0], 'Blue', $n / 8], [$ids[0], 'red', '-0.0'], [$ids[1], 'blue', 3];
        return @ids;
    });
    my @values = (
        [undef, SQL_VARCHAR], [2**53 + $n, SQL_BIGINT], [1 / $n, SQL_REAL],
        ["text\n'quoted'", SQL_VARCHAR], [pack('C3', 0, 255, $n % 256), SQL_BLOB], ['', SQL_VARCHAR],
    );
    my $set = $db->prepare('INSERT INTO setting VALUES (?, ?, ?)');
    for my $i (0 .. $#values) {
        $set->bind_param(1, "scope $n");
        $set->bind_param(2, "name $i");
        $set->bind_param(3, @{ $values[$i] });
        $set->execute;
    }
    return $first, $second;
}

sub update {
    my ($second) = @_;
    rows(q{INSERT INTO note (id, n) VALUES ('counter', 1)
           ON CONFLICT (id) DO UPDATE SET n = n + 1 RETURNING n});
    run(q{INSERT INTO note (id) VALUES ('counter') ON CONFLICT DO NOTHING});
    transaction(sub {
        run('UPDATE item SET v = v + 1 WHERE id % 3 = CAST(? AS INTEGER)', $n % 3);
        run('UPDATE tag SET weight = NULL WHERE item_id = ?', $second);
        run('UPDATE note SET body = body WHERE id = ?', "note $n");
    });
    $db->do('UPDATE inbox SET is_read = 1 WHERE is_read = 0');
    return;
}

sub replace {
    run(q{INSERT OR REPLACE INTO setting VALUES ('all', ?, ?)}, $n % 2 ? 'state' : 'STATE', $n);
    if ($n % 3 == 0) {    # takes the title of another note, which goes
        run('REPLACE INTO note (id, title) VALUES (?, ?)', "c $n", 'title ' . ($n - 1));
    }
    run(q{UPDATE OR REPLACE note SET title = 'fifth' WHERE id = ?}, "note $n") if $n % 5 == 0;
    return;
}

sub change_keys {
    my ($first, $second) = @_;
    transaction(sub {
        run('UPDATE note SET id = ? WHERE id = ?', "moved $n", 'note ' . ($n - 4));
        run('UPDATE setting SET name = upper(name) WHERE scope = ?', "scope $n");
    });
    transaction(sub {
        run('UPDATE item SET id = ? WHERE id = ?', @$_)
            for [-1, $first], [$first, $second], [$second, -1];
    });
    run('UPDATE item SET id = id + 50 WHERE id = ?', $second) if $n % 4 == 0;
    return;
}

sub undo {
    $db->begin_work;
    $db->do('DELETE FROM item');
    $db->do('UPDATE note SET n = 0, title = NULL');
    run(q{INSERT INTO note (id) VALUES ('undone')});
    $db->rollback;
    transaction(sub {
        run('INSERT INTO note (id) VALUES (?)', "kept $n");
        $db->do($_) for 'SAVEPOINT part', 'DELETE FROM tag', 'ROLLBACK TO part', 'RELEASE part';
    });
    return;
}

sub fail {
    transaction(sub {
        run('UPDATE note SET n = n + 1 WHERE id = ?', "note $n");
        run('INSERT INTO note (id, n) VALUES (?, 1), (?, -1)', "no $n", "bad $n");
        run(q{INSERT OR IGNORE INTO note (id) VALUES ('counter'), (?)}, "kept $n");
        run(q{INSERT INTO item (note_id) VALUES ('nobody')});
    });
    return;
}

sub delete_old {
    my $old = $n - KEPT_ROUNDS;
    transaction(sub {
        run('DELETE FROM note WHERE id IN (?, ?)', "moved $old", "kept $old");
        run('DELETE FROM setting WHERE scope = ?', "scope $old");
    });
    transaction(sub {
        run(q{DELETE FROM setting WHERE scope = 'all'});
        run(q{INSERT INTO setting VALUES ('all', 'state', ?)}, $n);
    });
    return;
}

for (1 .. $rounds) {
    $n = $_;
    my ($first, $second) = insert();
    update($second);
    replace();
    change_keys($first, $second);
    undo();
    fail();
    delete_old();
    print "round $n\n";
    last if -e $stop;
    sleep PAUSE_SECONDS;
}

for my $table (qw(note item tag setting)) {
    for my $row (@{ $db->selectall_arrayref("SELECT * FROM $table ORDER BY 1, 2") }) {
        next if $row->[0] =~ /^other/;
        print join(' ', $table, map { defined ? sprintf('%vd', $_) : 'NULL' } @$row), "\n";
    }
}
$db->disconnect;
