# Creates or updates a role and a user for each service, in MongoDB's wire protocol, on a server without TLS on loopback:
# mongodb-users.pl PORT GRANTS PASSWORDS ACCOUNTS
# GRANTS is grants.json; PASSWORDS a directory with a file for each service; ACCOUNTS the database of accounts, empty for
# any. Needs nothing but Debian's perl-base.
use strict;
use warnings;
use IO::Socket::INET;

my ($port, $grants_file, $passwords, $accounts) = @ARGV;

sub read_file { open my $file, '<', $_[0] or die "$_[0]: $!\n"; local $/; return scalar <$file> }

# JSON as far as the grants use it: objects, arrays and strings without escapes.
sub value {
    my ($text) = @_;
    if ($$text =~ /\G\s*\{\s*/gc) {
        my %object;
        until ($$text =~ /\G\s*\}/gc) {
            $$text =~ /\G\s*"([^"\\]*)"\s*:/gc or die "grants: a name was expected\n";
            my $name = $1;
            $object{$name} = value($text);
            $$text =~ /\G\s*,/gc;
        }
        return \%object;
    }
    if ($$text =~ /\G\s*\[\s*/gc) {
        my @array;
        until ($$text =~ /\G\s*\]/gc) { push @array, value($text); $$text =~ /\G\s*,/gc }
        return \@array;
    }
    $$text =~ /\G\s*"([^"\\]*)"/gc or die "grants: a value was expected\n";
    return $1;
}

# A document from names and values in this order. A value is a text, an array, or a document made before.
sub document {
    my $body = '';
    while (my ($name, $value) = splice @_, 0, 2) {
        if (ref $value eq 'ARRAY') {
            my $at = 0;
            $body .= "\x04$name\0" . ${document(map { ($at++, $_) } @$value)};
        }
        elsif (ref $value) { $body .= "\x03$name\0$$value" }
        else { $body .= "\x02$name\0" . pack('V', length($value) + 1) . "$value\0" }
    }
    return \(pack('V', length($body) + 5) . "$body\0");
}

my $server = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 10) or die "port $port: $@\n";
binmode $server;

# Runs a command (an OP_MSG) on the database admin, and returns the code of the error, or 0.
sub run {
    my $body = ${document(@_, '$db', 'admin')};
    print $server pack('V4 V C', length($body) + 21, 1, 0, 2013, 0, 0) . $body;
    $server->flush;
    my $answer = '';
    alarm 10;
    until (length $answer >= 4 && length $answer >= unpack 'V', $answer) {
        sysread $server, $answer, 65536, length $answer or die "$_[0]: the server hung up\n";
    }
    return 0 if $answer =~ /\x01ok\0\0\0\0\0\0\0\xf0\x3f/;
    $answer =~ /\x10code\0(....)/s or die "$_[0]: an answer without a code\n";
    my $code = unpack 'V', $1;
    $answer =~ /\x02errmsg\0....([^\0]*)/s;
    return ($code, $1 // '');
}

# Updates what is there, and creates it where the answer is that it is not.
sub ensure {
    my ($what, $name, $missing, @fields) = @_;
    my ($code, $message) = run("update$what", $name, @fields);
    ($code, $message) = run("create$what", $name, @fields) if $code == $missing;
    die "$what $name: $message\n" if $code;
}

my $grants = value(\read_file($grants_file));
for my $service (sort keys %$grants) {
    my ($user, $mongodb) = @{$grants->{$service}}{qw(user mongodb)};
    next unless $mongodb;
    my @privileges;
    for my $place (sort keys %$mongodb) {
        my $database = $place eq 'accounts' ? $accounts : '';
        for my $collection (sort keys %{$mongodb->{$place}}) {
            my $resource = document(db => $database, collection => $collection);
            push @privileges, document(resource => $resource, actions => $mongodb->{$place}{$collection});
        }
    }
    ensure('Role', $user, 31, privileges => \@privileges, roles => []);
    my $password = read_file("$passwords/$service");
    chomp $password;
    ensure('User', $user, 11, pwd => $password, roles => [document(role => $user, db => 'admin')], mechanisms => ['SCRAM-SHA-256']);
}
