#!/bin/bash
# Fetches Apache Kafka's jars with Maven: kafka.sh DIR KAFKA_VERSION LOG4J_VERSION
set -euo pipefail
[ "$1" = --describe ] && { echo "fetching Apache Kafka's jars, 60 MB (about 1 min)"; exit; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/pom.xml" <<X
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>quicksale</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$2</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$3</version></dependency>
  </dependencies>
</project>
X
mvn --batch-mode --quiet --file "$work/pom.xml" \
  org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$1/libs" -DincludeScope=runtime
